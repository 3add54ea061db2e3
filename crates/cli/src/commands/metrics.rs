//! `tandem metrics`: the figures of the node as Prometheus reads them.

use std::collections::BTreeMap;

use control::path;
use serde_json::{Value, json};

use super::Call;
use crate::exit::{Code, Failure};

impl Call {
    /// Prints the families whose names begin with `prefix`.
    pub(crate) async fn metrics(mut self, prefix: &str) -> Result<Code, Failure> {
        let text = self.client.get_text(path::METRICS).await?;
        let wanted = text.lines().filter(|line| name(line).starts_with(prefix));
        if self.json {
            for sample in wanted.filter_map(sample) {
                self.output.json_line(&sample)?;
            }
        } else {
            let lines: String = wanted.map(|line| format!("{line}\n")).collect();
            self.output.screen(&lines)?;
        }
        Ok(Code::Good)
    }
}

/// What a line is about: `# HELP name ..`, `# TYPE name ..`, `name{..} value`.
fn name(line: &str) -> &str {
    let comment = (line.strip_prefix("# HELP ")).or_else(|| line.strip_prefix("# TYPE "));
    let begin = comment.unwrap_or(line);
    let end = begin.find(['{', ' ']).unwrap_or(begin.len());
    &begin[..end]
}

/// A line with a value; `None` for any other.
fn sample(line: &str) -> Option<Value> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let labels = series
        .strip_suffix('}')
        .and_then(|series| Some(series.split_once('{')?.1));
    let labels: BTreeMap<&str, String> = labels.map_or_else(BTreeMap::new, read_labels);
    // What JSON has no number for is a word.
    let value = value
        .parse::<f64>()
        .map_or_else(|_| json!(value), |number| json!(number));
    Some(json!({"name": name(line), "labels": labels, "value": value}))
}

/// `a="b",c="d"`, with what the text format escapes.
fn read_labels(mut text: &str) -> BTreeMap<&str, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((place, c)) = chars.next() {
            match c {
                '"' => {
                    end = place + 1;
                    break;
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => {}
                },
                other => value.push(other),
            }
        }
        labels.insert(name, value);
        text = rest[end..].trim_start_matches(',');
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_from_what_explains_them() {
        assert_eq!(
            name("# HELP tandem_vrrp_state 1 for the state."),
            "tandem_vrrp_state"
        );
        assert_eq!(
            name("tandem_journal_lines_lost_total 0"),
            "tandem_journal_lines_lost_total"
        );
        assert_eq!(sample("# TYPE tandem_vrrp_state gauge"), None);
        let line = r#"tandem_target_up{group="a\"b",target="x,y=\"z"} 1"#;
        let expected = json!({
            "name": "tandem_target_up", "labels": {"group": "a\"b", "target": "x,y=\"z"}, "value": 1.0,
        });
        assert_eq!(sample(line), Some(expected));
        let expected = json!({"name": "x", "labels": {}, "value": 0.5});
        assert_eq!(sample("x 0.5"), Some(expected));
    }
}
