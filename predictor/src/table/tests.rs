//! The files under `tests/tables` were written by pyarrow and NumPy.

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name)
}

/// Reads a CSV file with this text.
fn csv(text: &str) -> Result<Table, TableError> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("foreshift-table-{}-{}.csv", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a temporary folder");
    let table = Table::read(&path);
    std::fs::remove_file(&path).expect("it was there");
    table
}

#[test]
fn a_parquet_file_of_every_type_and_two_row_groups_is_read() {
    let table = Table::read(&fixture("telemetry.parquet")).expect("readable");
    assert_eq!((table.rows(), table.names().len()), (4, 7));
    assert_eq!(table.text("machine").unwrap().distinct(), ["b", "a"]);
    assert_eq!(table.text("part").unwrap().get(3), "test");
    assert_eq!(table.integers("index").unwrap(), [1, 0, 0, 1]);
    assert_eq!(table.integers("at").unwrap(), [10, 20, 30, 1 << 40]);
    assert_eq!(table.integers("up").unwrap(), [1, 0, 1, 1]);
    assert_eq!(table.numbers("rate").unwrap(), [1.0, 2.0, 3.0, 1e300]);
    let load = table.numbers("load").unwrap();
    assert_eq!((load[0], load[3]), (0.5, -1.5));
    assert!(load[1].is_nan() && load[2].is_nan(), "a null is NaN: {load:?}");
}

#[test]
fn a_group_has_the_rows_of_one_unit_in_order_of_their_index() {
    let table = Table::read(&fixture("telemetry.parquet")).expect("readable");
    let all = table.groups("machine", "index", |_| true).unwrap();
    assert_eq!(
        all,
        [Group { name: "b".into(), rows: vec![2, 0] }, Group { name: "a".into(), rows: vec![1, 3] }]
    );
    let part = table.text("part").unwrap();
    let test = table.groups("machine", "index", |row| part.get(row) == "train").unwrap();
    assert_eq!(test.iter().map(|group| group.rows.clone()).collect::<Vec<_>>(), [[2], [1]]);
    let twice = csv("unit,index\na,1\na,1\n").unwrap().groups("unit", "index", |_| true).unwrap_err();
    assert!(twice.to_string().ends_with("unit a: index 1 is there twice"), "{twice}");
}

#[test]
fn metrics_are_the_columns_that_are_not_named_and_must_be_numbers() {
    let table = Table::read(&fixture("telemetry.parquet")).expect("readable");
    let names = |but: &[&str]| -> Vec<String> {
        table.metrics(but).unwrap().iter().map(|(name, _)| (*name).to_owned()).collect()
    };
    assert_eq!(names(&["machine", "part", "index", "at"]), ["load", "rate", "up"]);
    let error = table.metrics(&["machine"]).unwrap_err().to_string();
    assert!(error.ends_with("column 'part' is text; store it as numbers, or leave it out"), "{error}");
    let error = csv("unit\na\n").unwrap().metrics(&["unit"]).unwrap_err().to_string();
    assert!(error.contains("no column 'any metric'"), "{error}");
}

#[test]
fn what_is_not_there_or_of_another_type_is_said_with_file_and_column() {
    let table = Table::read(&fixture("telemetry.parquet")).expect("readable");
    let error = table.column("lod").unwrap_err().to_string();
    assert!(error.contains("telemetry.parquet: no column 'lod'; it has machine, part, index"), "{error}");
    let error = table.integers("load").unwrap_err().to_string();
    assert!(error.ends_with("column 'load' is 32-bit floats; store it as integers"), "{error}");
    let error = Table::read(&fixture("null_index.parquet")).unwrap_err().to_string();
    assert!(error.contains("column 'index' has a null in row 1"), "{error}");
    let error = Table::read(&fixture("list.parquet")).unwrap_err().to_string();
    assert!(error.contains("is a list; store it as floats"), "{error}");
    let error = Table::read(&fixture("none.parquet")).unwrap_err();
    assert!(matches!(error, TableError::Io { .. }), "{error}");
    let error = Table::read(&fixture("labels.npz")).unwrap_err().to_string();
    assert!(error.contains("neither .parquet nor .csv"), "{error}");
}

#[test]
fn an_archive_of_labels_is_read() {
    let labels = read_npz(&fixture("labels.npz")).expect("readable");
    assert_eq!(labels["machine-a"], [0.0, 1.0, 1.0]);
    assert_eq!(labels["machine-b"], [0.5, 2.0]);
    let error = read_npz(&fixture("telemetry.parquet")).unwrap_err().to_string();
    assert!(error.contains("not a readable npz file"), "{error}");
}

#[test]
fn a_csv_column_gets_the_narrowest_type() {
    let table = csv("run,fault,minute,p\r\n\"a,\"\"1\"\"\",,3,0.5\r\nb,leak,-4,\r\n").expect("readable");
    assert_eq!(table.text("run").unwrap().get(0), "a,\"1\"");
    assert_eq!(table.text("fault").unwrap().get(0), "");
    assert_eq!(table.integers("minute").unwrap(), [3, -4]);
    assert!(table.numbers("p").unwrap()[1].is_nan());
}

#[test]
fn a_broken_csv_file_says_where() {
    for (text, reason) in [
        ("", "it is empty"),
        ("a,b\n1\n", "record 1 has 1 fields, the header has 2"),
        ("a\n\"1\n", "a quoted field is not closed"),
        ("a\nx\"y\n", "line 2: a quote inside a field"),
    ] {
        let error = csv(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}
