//! Parquet through the column readers of the `parquet` crate, without Arrow.

use std::panic::catch_unwind;
use std::path::Path;

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::{Column, Table, TableError, TextBuilder};

/// Values read in one go.
const BATCH: usize = 16_384;
/// Most rows for each byte of the file, which is far more than real data come to: a damaged page of a few bytes can claim
/// any number of equal values.
const ROWS_PER_BYTE: u64 = 256;

pub(super) fn read(path: &Path) -> Result<Table, TableError> {
    // The library panics on pages that are damaged in some ways (fuzzing found them). Nothing outlives the attempt.
    let gave_up = |_| ParquetError::General("its pages are damaged".into());
    catch_unwind(|| columns(path)).unwrap_or_else(|panic| Err(broken(path, &gave_up(panic))))
}

fn columns(path: &Path) -> Result<Table, TableError> {
    let file = std::fs::read(path).map_err(|source| TableError::Io { path: path.to_owned(), source })?;
    let bytes = file.len() as u64;
    // From memory: what is damaged makes the library read the same end again and again.
    let reader = SerializedFileReader::new(Bytes::from(file)).map_err(|error| broken(path, &error))?;
    let rows = usize::try_from(reader.metadata().file_metadata().num_rows()).ok();
    let rows = rows.filter(|rows| *rows as u64 <= bytes * ROWS_PER_BYTE).ok_or_else(|| {
        broken(path, &ParquetError::General("it cannot have as many rows as it says".into()))
    })?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let mut named = Vec::with_capacity(schema.num_columns());
    for (at, descriptor) in schema.columns().iter().enumerate() {
        let mut target = Target::new(path, descriptor, rows)?;
        for group in 0..reader.num_row_groups() {
            reader
                .get_row_group(group)
                .and_then(|group| group.get_column_reader(at))
                .map_err(|error| broken(path, &error))
                .and_then(|column| target.extend(column))?;
        }
        named.push((descriptor.name().to_owned(), target.finish()));
    }
    if named.windows(2).any(|pair| pair[0].1.len() != pair[1].1.len()) {
        return Err(broken(path, &ParquetError::General("its columns differ in length".into())));
    }
    let said = reader.metadata().file_metadata().key_value_metadata().into_iter().flatten();
    let metadata = said.filter_map(|said| Some((said.key.clone(), said.value.clone()?))).collect();
    Ok(Table { metadata, ..Table::new(path, named) })
}

fn broken(path: &Path, error: &ParquetError) -> TableError {
    TableError::Format { path: path.to_owned(), format: "Parquet", reason: error.to_string() }
}

enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Text(TextBuilder),
}

/// One column while its row groups are read.
struct Target<'a> {
    path: &'a Path,
    name: String,
    nullable: bool,
    values: Values,
    rows: usize,
    rows_claimed: usize,
}

impl<'a> Target<'a> {
    fn new(
        path: &'a Path,
        descriptor: &ColumnDescriptor,
        rows_claimed: usize,
    ) -> Result<Target<'a>, TableError> {
        use parquet::basic::Type as Physical;
        let values = match descriptor.physical_type() {
            _ if descriptor.max_rep_level() > 0 || descriptor.max_def_level() > 1 => None,
            Physical::FLOAT => Some(Values::F32(Vec::new())),
            Physical::DOUBLE => Some(Values::F64(Vec::new())),
            Physical::INT32 | Physical::INT64 | Physical::BOOLEAN => Some(Values::I64(Vec::new())),
            Physical::BYTE_ARRAY => Some(Values::Text(TextBuilder::default())),
            Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => None,
        };
        let name = descriptor.path().string();
        let nullable = descriptor.max_def_level() == 1;
        match values {
            Some(values) => Ok(Target { path, name, nullable, values, rows: 0, rows_claimed }),
            None => Err(TableError::Type {
                path: path.to_owned(),
                column: name,
                found: if descriptor.max_rep_level() > 0 {
                    "a list".into()
                } else {
                    descriptor.physical_type().to_string()
                },
                wanted: "floats, integers, booleans or text",
            }),
        }
    }

    fn extend(&mut self, column: ColumnReader) -> Result<(), TableError> {
        match column {
            ColumnReader::FloatColumnReader(reader) => self.pour(reader),
            ColumnReader::DoubleColumnReader(reader) => self.pour(reader),
            ColumnReader::Int32ColumnReader(reader) => self.pour(reader),
            ColumnReader::Int64ColumnReader(reader) => self.pour(reader),
            ColumnReader::BoolColumnReader(reader) => self.pour(reader),
            ColumnReader::ByteArrayColumnReader(reader) => self.pour(reader),
            _ => unreachable!("new() refused this type"),
        }
    }

    fn pour<T: DataType>(&mut self, mut reader: ColumnReaderImpl<T>) -> Result<(), TableError>
    where
        T::T: Cell,
    {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        loop {
            levels.clear();
            values.clear();
            let (records, ..) = reader
                .read_records(BATCH, Some(&mut levels), None, &mut values)
                .map_err(|error| broken(self.path, &error))?;
            if records == 0 {
                return Ok(());
            }
            if self.rows + records > self.rows_claimed {
                let what = "a column has more rows than the file says".into();
                return Err(broken(self.path, &ParquetError::General(what)));
            }
            let mut present = values.iter();
            let mut levels = levels.iter();
            for _ in 0..records {
                let null = self.nullable && levels.next() == Some(&0);
                let cell = if null { None } else { present.next() };
                self.push(cell)?;
                self.rows += 1;
            }
        }
    }

    fn push<C: Cell>(&mut self, cell: Option<&C>) -> Result<(), TableError> {
        let null =
            || TableError::Null { path: self.path.to_owned(), column: self.name.clone(), row: self.rows };
        match &mut self.values {
            Values::F32(values) => values.push(cell.map_or(f32::NAN, |cell| cell.number() as f32)),
            Values::F64(values) => values.push(cell.map_or(f64::NAN, Cell::number)),
            Values::I64(values) => values.push(cell.ok_or_else(null)?.integer()),
            Values::Text(text) => {
                text.push(cell.ok_or_else(null)?.bytes()).ok_or_else(|| TableError::Type {
                    path: self.path.to_owned(),
                    column: self.name.clone(),
                    found: "bytes that are not UTF-8".into(),
                    wanted: "UTF-8 text",
                })?
            }
        }
        Ok(())
    }

    fn finish(self) -> Column {
        match self.values {
            Values::F32(values) => Column::F32(values),
            Values::F64(values) => Column::F64(values),
            Values::I64(values) => Column::I64(values),
            Values::Text(text) => Column::Text(text.finish()),
        }
    }
}

/// A physical value; [`Target::new`] chose the one view of it that has a meaning.
trait Cell {
    fn number(&self) -> f64 {
        f64::NAN
    }
    fn integer(&self) -> i64 {
        0
    }
    fn bytes(&self) -> &[u8] {
        &[]
    }
}

impl Cell for f32 {
    fn number(&self) -> f64 {
        f64::from(*self)
    }
}
impl Cell for f64 {
    fn number(&self) -> f64 {
        *self
    }
}
impl Cell for i32 {
    fn integer(&self) -> i64 {
        i64::from(*self)
    }
}
impl Cell for i64 {
    fn integer(&self) -> i64 {
        *self
    }
}
impl Cell for bool {
    fn integer(&self) -> i64 {
        i64::from(*self)
    }
}
impl Cell for parquet::data_type::ByteArray {
    fn bytes(&self) -> &[u8] {
        self.data()
    }
}
