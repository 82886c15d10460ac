//! Columns for people.

/// Rows of the same number of cells, the first the heads, each column as wide as its widest cell.
/// Numbers stand to the right, but for those of the first and the last column.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let is_number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let right = |column: usize| {
        let mut cells = rows[1..].iter().map(|row| row[column].as_str());
        let plain = |cell: &str| is_number(cell) && !cell.contains([':', '@']);
        column > 0 && column + 1 < columns && cells.all(plain)
    };
    let mut lines = Vec::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            line += &match right(column) {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}
