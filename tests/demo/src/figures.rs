//! The table at the end.

use std::time::Duration;

/// Rows of a label and a value, in a frame.
#[derive(Debug, Default)]
pub struct Table {
    title: String,
    rows: Vec<(String, String)>,
}

impl Table {
    pub fn new(title: impl Into<String>) -> Self {
        Table {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, label: &str, value: impl Into<String>) {
        self.rows.push((label.to_owned(), value.into()));
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |text: &str| text.chars().count();
        let labels = self.rows.iter().map(|r| width(&r.0)).max().unwrap_or(0);
        let values = self.rows.iter().map(|r| width(&r.1)).max().unwrap_or(0);
        let inner = (labels + values + 3).max(width(&self.title));
        writeln!(f, "╭─{}─╮", "─".repeat(inner))?;
        writeln!(
            f,
            "│ {}{} │",
            self.title,
            " ".repeat(inner - width(&self.title))
        )?;
        writeln!(f, "├─{}─┤", "─".repeat(inner))?;
        for (label, value) in &self.rows {
            let gap = inner - width(label) - width(value);
            writeln!(f, "│ {label}{}{value} │", " ".repeat(gap))?;
        }
        write!(f, "╰─{}─╯", "─".repeat(inner))
    }
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub fn per_second(number: u64, time: Duration) -> String {
    count((number as f64 / time.as_secs_f64().max(0.001)) as u64)
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

pub fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(time(Duration::from_millis(12)), "12 ms");
        assert_eq!(time(Duration::from_millis(2340)), "2.3 s");
        assert_eq!(mebibytes(96 << 20), "96 MiB");
    }

    #[test]
    fn a_table_is_a_rectangle() {
        let mut table = Table::new("a title");
        table.row("rows", "12");
        table.row("a longer label", "é");
        let text = table.to_string();
        let widths: Vec<usize> = text.lines().map(|l| l.chars().count()).collect();
        assert!(widths.iter().all(|w| *w == widths[0]), "{text}");
    }
}
