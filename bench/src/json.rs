//! Just enough JSON to write results.

use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// A number; JSON has no infinities and no NaN, so that these become null.
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Json>),
    /// Names and their values in order.
    Object(Vec<(&'static str, Json)>),
}

impl From<f64> for Json {
    fn from(number: f64) -> Json {
        Json::Number(number)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Number(number) if number.is_finite() => write!(f, "{number}"),
            Json::Number(_) => f.write_str("null"),
            Json::Text(text) => write_text(f, text),
            Json::List(values) => write_all(f, ['[', ']'], values, |f, value| value.fmt(f)),
            Json::Object(members) => write_all(f, ['{', '}'], members, |f, (name, value)| {
                write_text(f, name)?;
                write!(f, ":{value}")
            }),
        }
    }
}

fn write_all<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [char; 2],
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "{open}")?;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(",")?;
        }
        write(f, item)?;
    }
    write!(f, "{close}")
}

/// Writes a string with the escapes of RFC 8259 §7.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\0'..='\u{1f}' => write!(f, "\\u{:04x}", u32::from(character))?,
            _ => write!(f, "{character}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nest() {
        let value = Json::Object(vec![
            ("a", Json::List(vec![1.5.into(), 2.0.into()])),
            ("b", Json::Object(vec![])),
        ]);
        assert_eq!(value.to_string(), r#"{"a":[1.5,2],"b":{}}"#);
    }

    #[test]
    fn what_would_end_a_text_is_escaped() {
        let text = Json::from("a\"b\\c\nd");
        assert_eq!(text.to_string(), r#""a\"b\\c\u000ad""#);
    }

    #[test]
    fn what_is_no_number_is_null() {
        assert_eq!(Json::from(f64::NAN).to_string(), "null");
        assert_eq!(Json::from(1.0 / 0.0).to_string(), "null");
    }
}
