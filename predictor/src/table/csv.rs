//! CSV as RFC 4180 has it: a header, commas, fields in double quotes where they need them.

use std::path::Path;

use super::{Column, Table, TableError, TextBuilder};

pub(super) fn read(path: &Path) -> Result<Table, TableError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| TableError::Io { path: path.to_owned(), source })?;
    let wrong = |reason: String| TableError::Format { path: path.to_owned(), format: "CSV", reason };
    let mut records = parse(&text).map_err(wrong)?.into_iter();
    let header = records.next().ok_or_else(|| wrong("it is empty; it needs a header".into()))?;
    let mut cells: Vec<Vec<String>> = vec![Vec::new(); header.len()];
    for (at, record) in records.enumerate() {
        if record.len() != header.len() {
            return Err(wrong(format!(
                "record {} has {} fields, the header has {}",
                at + 1,
                record.len(),
                header.len()
            )));
        }
        cells.iter_mut().zip(record).for_each(|(column, cell)| column.push(cell));
    }
    Ok(Table::new(path, header.into_iter().zip(cells).map(|(name, cells)| (name, column(&cells))).collect()))
}

/// The narrowest type that holds every cell.
fn column(cells: &[String]) -> Column {
    if let Ok(integers) = cells.iter().map(|cell| cell.parse()).collect() {
        return Column::I64(integers);
    }
    let number = |cell: &String| if cell.is_empty() { Ok(f64::NAN) } else { cell.parse() };
    if let Ok(numbers) = cells.iter().map(number).collect() {
        return Column::F64(numbers);
    }
    let mut text = TextBuilder::default();
    for cell in cells {
        text.push(cell.as_bytes()).expect("a String is UTF-8");
    }
    Column::Text(text.finish())
}

/// The records with their fields; blank lines are no records.
fn parse(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut line) = (false, 1);
    let mut letters = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            _ if quoted => field.push(letter),
            '"' => return Err(format!("line {line}: a quote inside a field that does not start with one")),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => end(&mut records, &mut record, &mut field),
            _ => field.push(letter),
        }
    }
    if quoted {
        return Err(format!("line {line}: a quoted field is not closed"));
    }
    end(&mut records, &mut record, &mut field);
    Ok(records)
}

fn end(records: &mut Vec<Vec<String>>, record: &mut Vec<String>, field: &mut String) {
    if record.is_empty() && field.is_empty() {
        return;
    }
    record.push(std::mem::take(field));
    records.push(std::mem::take(record));
}
