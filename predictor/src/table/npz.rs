//! One-dimensional arrays from a NumPy `.npz` archive (format: `numpy.lib.format`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::TableError;

/// The arrays of an archive by name, as floats. Anything but one dimension of little-endian numbers
/// or booleans is an error.
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, Vec<f64>>, TableError> {
    let wrong = |reason: String| TableError::Format { path: path.to_owned(), format: "npz", reason };
    let file = File::open(path).map_err(|source| TableError::Io { path: path.to_owned(), source })?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| wrong(error.to_string()))?;
    let mut arrays = BTreeMap::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(|error| wrong(error.to_string()))?;
        let name =
            entry.name().map_err(|error| wrong(error.to_string()))?.trim_end_matches(".npy").to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| wrong(format!("{name}: {error}")))?;
        let values = parse(&bytes).map_err(|reason| wrong(format!("{name}: {reason}")))?;
        arrays.insert(name, values);
    }
    Ok(arrays)
}

/// The values of an `.npy` file.
fn parse(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let version = match bytes.get(..8) {
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', major, _]) => *major,
        _ => return Err("not an .npy array".into()),
    };
    let (start, length) = match (version, &bytes[8..]) {
        (1, [a, b, ..]) => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        (2 | 3, [a, b, c, d, ..]) => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => return Err(format!("unknown .npy version {version}")),
    };
    let header = bytes.get(start..start + length).ok_or("the header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let rows = shape(header)?;
    let data = &bytes[start + length..];
    match between(header, "'descr':", "'", "'")? {
        "|u1" | "|b1" => numbers::<1>(data, rows, |[byte]| f64::from(byte)),
        "|i1" => numbers::<1>(data, rows, |bytes| f64::from(i8::from_le_bytes(bytes))),
        "<i4" => numbers::<4>(data, rows, |bytes| f64::from(i32::from_le_bytes(bytes))),
        "<i8" => numbers::<8>(data, rows, |bytes| i64::from_le_bytes(bytes) as f64),
        "<f4" => numbers::<4>(data, rows, |bytes| f64::from(f32::from_le_bytes(bytes))),
        "<f8" => numbers::<8>(data, rows, f64::from_le_bytes),
        other => Err(format!("type {other} is not read; use u1, i1, i4, i8, f4, f8 or bool")),
    }
}

fn shape(header: &str) -> Result<usize, String> {
    let shape = between(header, "'shape':", "(", ")")?;
    let mut sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    match (sizes.next().and_then(|size| size.parse().ok()), sizes.next()) {
        (Some(rows), None) => Ok(rows),
        _ => Err(format!("shape ({shape}) is not one dimension")),
    }
}

/// What stands between `open` and `close` after `key`.
fn between<'a>(header: &'a str, key: &str, open: &str, close: &str) -> Result<&'a str, String> {
    header
        .split_once(key)
        .and_then(|(_, rest)| rest.split_once(open))
        .and_then(|(_, rest)| rest.split_once(close))
        .map(|(found, _)| found)
        .ok_or_else(|| format!("the header has no {key}"))
}

fn numbers<const N: usize>(
    data: &[u8],
    rows: usize,
    number: impl Fn([u8; N]) -> f64,
) -> Result<Vec<f64>, String> {
    let (values, rest) = data.as_chunks::<N>();
    if values.len() != rows || !rest.is_empty() {
        return Err(format!("{} bytes are not {rows} values", data.len()));
    }
    Ok(values.iter().map(|bytes| number(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_are_read_by_their_type() {
        assert_eq!(parse(&npy("|u1", "(3,)", &[0, 1, 255])), Ok(vec![0.0, 1.0, 255.0]));
        assert_eq!(parse(&npy("<f4", "(1,)", &1.5f32.to_le_bytes())), Ok(vec![1.5]));
        assert_eq!(parse(&npy("<i8", "(1,)", &(-7i64).to_le_bytes())), Ok(vec![-7.0]));
        assert_eq!(parse(&npy("|u1", "(0,)", &[])), Ok(vec![]));
    }

    #[test]
    fn what_is_not_such_an_array_is_refused() {
        let reason = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(reason(b"PK").contains("not an .npy"));
        assert!(reason(&npy("<f8", "(2, 2)", &[0; 32])).contains("(2, 2)"));
        assert!(reason(&npy(">f8", "(1,)", &[0; 8])).contains(">f8"));
        assert!(reason(&npy("<f8", "(2,)", &[0; 12])).contains("12 bytes"));
        assert!(reason(&npy("|u1", "(1,)", &[0])[..20]).contains("cut off"));
    }
}
