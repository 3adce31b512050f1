//! What k6 has written: its metrics as CSV, and what its script has said.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use super::{CSV, LOG};
use crate::load::{
    Failure,
    recorded::{Recorded, Success, Verdict},
};

/// Reads what k6 has written in `folder`, and removes the CSV file, which is large and has nothing more to tell.
pub(super) fn read(folder: &Path) -> Result<Recorded, Failure> {
    let mut recorded = Recorded::default();
    let csv = folder.join(CSV);
    let open = |path: &Path| File::open(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
    read_csv(BufReader::with_capacity(1 << 20, open(&csv)?), &mut recorded)?;
    read_log(BufReader::new(open(&folder.join(LOG))?), &mut recorded)?;
    std::fs::remove_file(&csv)?;
    Ok(recorded)
}

/// Where in a line of CSV what we read stands, counted from 0.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    timestamp: usize,
    value: usize,
    /// Unless the script has it among the others.
    name: Option<usize>,
    extra_tags: usize,
}

impl Columns {
    /// From the first line. k6 has columns for tags that it knows, `name` among them, and one for all others.
    fn of(header: &str) -> Option<Self> {
        let at = |column: &str| fields(header).position(|field| field == column);
        Some(Self {
            timestamp: at("timestamp")?,
            value: at("metric_value")?,
            name: at("name"),
            extra_tags: at("extra_tags")?,
        })
    }
}

/// The fields of a line. Quotes around a field are taken off; quotes within one stay doubled, and nothing that we read has any.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let comma = text.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let (field, behind) = comma
            .and_then(|at| text.split_at_checked(at))
            .map_or((text, None), |(field, behind)| (field, behind.strip_prefix(',')));
        rest = behind;
        Some(field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).unwrap_or(field))
    })
}

/// One line at a time: a run of an hour writes millions, most of them of metrics that nobody reads.
fn read_csv(mut csv: impl BufRead, recorded: &mut Recorded) -> Result<(), Failure> {
    let mut line = Vec::new();
    csv.read_until(b'\n', &mut line)?;
    let header = String::from_utf8_lossy(&line).trim_end().to_owned();
    // k6 writes nothing at all when it stops before the first fan.
    if header.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(&header).ok_or_else(|| format!("k6 writes CSV of another form: {header}"))?;
    let (mut torn, mut wrong, mut last_ms) = (0_u64, 0_u64, recorded.started_ms);
    loop {
        line.clear();
        if csv.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Some(metric) = Metric::of(&line) else { continue };
        let taken = std::str::from_utf8(&line).ok().and_then(|line| take(recorded, &columns, metric, line.trim_end()));
        match taken {
            Some(at_ms) => last_ms = at_ms,
            None => torn += 1,
        }
        wrong += u64::from(metric == Metric::Wrong && taken.is_some());
    }
    // The script counts every wrong answer once more, and besides them whatever else went wrong with a fan.
    for _ in recorded.counts().wrong..wrong {
        recorded.add(last_ms, "visit", "broken", Verdict::Wrong, 0);
    }
    if torn > 0 {
        recorded.note(format!("{torn} lines of k6's CSV could not be read"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Answer,
    Arrived,
    Dropped,
    Wrong,
}

impl Metric {
    fn of(line: &[u8]) -> Option<Self> {
        let named = [
            (&b"answer_ms,"[..], Self::Answer),
            (&b"arrived,"[..], Self::Arrived),
            (&b"dropped_iterations,"[..], Self::Dropped),
            (&b"wrong_answers,"[..], Self::Wrong),
        ];
        named.into_iter().find(|(name, _)| line.starts_with(name)).map(|(_, metric)| metric)
    }
}

/// Takes a line into account and answers when it happened; `None` when it cannot be read.
fn take(recorded: &mut Recorded, columns: &Columns, metric: Metric, line: &str) -> Option<i64> {
    let (mut timestamp, mut value, mut name, mut tags) = (None, None, None, None);
    for (at, field) in fields(line).enumerate() {
        let column = match at {
            at if at == columns.timestamp => &mut timestamp,
            at if at == columns.value => &mut value,
            at if Some(at) == columns.name => &mut name,
            at if at == columns.extra_tags => &mut tags,
            _ => continue,
        };
        *column = Some(field);
    }
    let (at_ms, value) = (timestamp?.parse().ok()?, value?);
    match metric {
        Metric::Answer => {
            let tags = tags?;
            let (outcome, verdict) = (tag(tags, "outcome")?, Verdict::parse(tag(tags, "verdict")?)?);
            let step = name.filter(|name| !name.is_empty()).or_else(|| tag(tags, "name"))?;
            recorded.add(at_ms, step, outcome, verdict, micros(value)?);
        }
        Metric::Arrived => recorded.arrive(at_ms),
        Metric::Dropped => recorded.drop_arrivals(at_ms, whole(value)?),
        Metric::Wrong => {}
    }
    Some(at_ms)
}

/// A tag of a column such as `outcome=201&verdict=right`; they stand in any order.
fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    tags.split('&').find_map(|tag| tag.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

/// Microseconds of a text of milliseconds such as `12.345679`.
fn micros(millis: &str) -> Option<u64> {
    let millis: f64 = millis.parse().ok()?;
    let time = Duration::try_from_secs_f64(millis / 1_000.0).ok()?;
    u64::try_from(time.as_micros()).ok()
}

/// A count; k6 writes it as `1.000000`.
fn whole(value: &str) -> Option<u64> {
    value.split('.').next().and_then(|digits| digits.parse().ok())
}

/// Reads what the script has said, line by line.
fn read_log(log: impl BufRead, recorded: &mut Recorded) -> Result<(), Failure> {
    // The line before, and how often the script failed, with what it said first.
    let (mut before, mut failures, mut first) = (String::new(), 0_u64, None);
    for line in log.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        // Below an error stands, indented, where it was: a fan's journey broke off, for no reason of the server's.
        if line.starts_with("\tat ") && !before.starts_with('\t') {
            failures += 1;
            first.get_or_insert_with(|| before.clone());
        }
        heard(recorded, &line);
        before = line;
    }
    if let Some(first) = first {
        recorded.unfinished = Some(format!("its script failed {failures} times, first with: {first}"));
    }
    Ok(())
}

fn heard(recorded: &mut Recorded, line: &str) {
    match line.split_once(' ') {
        Some(("success", rest)) => match success(rest) {
            Some(success) => recorded.succeed(success),
            None => recorded.note(format!("k6: {line}")),
        },
        Some(("wrong", rest)) => recorded.wrong(rest.to_owned()),
        // k6 says so of each request without an answer, which is counted.
        _ if line.is_empty() || line == "Request Failed" || line.starts_with('\t') => {}
        _ => recorded.note(format!("k6: {}", line.chars().take(300).collect::<String>())),
    }
}

fn success(text: &str) -> Option<Success> {
    let mut words = text.split_whitespace();
    let word = words.next()?;
    let what = ["join", "reserve", "pay"].into_iter().find(|what| *what == word)?;
    let (fan, id) = (words.next()?.parse().ok()?, words.next()?.to_owned());
    Some(Success { what, fan, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorded::Counts;

    /// As k6 1.1.0 writes it with `K6_CSV_TIME_FORMAT=unix_milli`.
    const HEADER: &str = "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,\
                          proto,scenario,service,status,subproto,tls_version,url,extra_tags,metadata";
    const LINES: &str = r#"arrived,1795312112492,1.000000,,,,,,,,,fans,,,,,,,
http_reqs,1795312112493,1.000000,,dial: connection refused,1212,false,,GET,"http://127.0.0.1:1/a,%22b%22?x=1",,fans,,0,,,"http://127.0.0.1:1/a,%22b%22?x=1",,
answer_ms,1795312112493,12.345679,,,,,,,join,,fans,,,,,,outcome=201&verdict=right,
answer_ms,1795312112993,0.250000,,,,,,,gate,,fans,,,,,,verdict=refused&outcome=too_many_requests,
answer_ms,1795312113493,60000.000000,,,,,,,poll,,fans,,,,,,verdict=wrong&outcome=no_answer,
dropped_iterations,1795312113492,2.000000,,,,,,,,,fans,,,,,,,
vus,1795312113492,3.000000,,,,,,,,,,,,,,,,
answer_ms,17953121"#;

    fn read_text(csv: &str) -> Recorded {
        let mut recorded = Recorded::default();
        read_csv(csv.as_bytes(), &mut recorded).unwrap();
        recorded
    }

    #[test]
    fn the_csv_of_k6_is_read() {
        let recorded = read_text(&format!("{HEADER}\n{LINES}"));
        assert_eq!((recorded.arrived, recorded.dropped, recorded.started_ms), (1, 2, 1_795_312_112_492));
        let steps = recorded.steps();
        let names: Vec<&str> = steps.iter().map(|totals| totals.step.as_str()).collect();
        assert_eq!(names, ["join", "poll", "gate"]);
        let of_one = Counts::default();
        assert_eq!(steps[0].counts, Counts { right: 1, ..of_one });
        assert!((steps[0].times.unwrap().max_ms - 12.345).abs() < 1e-9);
        assert_eq!(steps[1].counts, Counts { unanswered: 1, ..of_one });
        assert_eq!(steps[2].counts, Counts { refused: 1, ..of_one });
        assert_eq!(steps[2].outcomes["too_many_requests"], 1);
        assert_eq!(recorded.notes, ["1 lines of k6's CSV could not be read"], "the last line is torn");
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let other = "metric_name,metric_value,extra_tags,timestamp,name\n\
                     answer_ms,7.5,outcome=200&verdict=right,1795312112493,poll\n";
        assert!((read_text(other).steps()[0].times.unwrap().max_ms - 7.5).abs() < 1e-9);
        let unnamed = "metric_name,timestamp,metric_value,extra_tags\n\
                       answer_ms,1795312112493,7.5,outcome=200&name=poll&verdict=right\n";
        assert_eq!(read_text(unnamed).steps()[0].step, "poll");
        assert!(read_csv("a,b,c\n1,2,3\n".as_bytes(), &mut Recorded::default()).is_err());
        assert_eq!(read_text("").arrived, 0);
        assert_eq!(Columns::of(HEADER), Some(Columns { timestamp: 1, value: 2, name: Some(9), extra_tags: 17 }));
    }

    #[test]
    fn a_fan_whose_journey_broke_counts_as_wrong_and_a_wrong_answer_once() {
        // As k6 writes it when the script keeps only the tag `name`.
        let csv = "metric_name,timestamp,metric_value,name,extra_tags,metadata\n\
                   answer_ms,1795313656808,1.500000,join,verdict=wrong&outcome=500,\n\
                   wrong_answers,1795313656808,1.000000,,,\nwrong_answers,1795313656908,1.000000,,,\n";
        let steps = read_text(csv).steps();
        let wrong: Vec<(&str, u64)> = steps.iter().map(|totals| (totals.step.as_str(), totals.counts.wrong)).collect();
        assert_eq!(wrong, [("join", 1), ("visit", 1)]);
        assert_eq!(steps[1].outcomes["broken"], 1);
    }

    #[test]
    fn a_million_lines_are_read_one_by_one() {
        struct Endless {
            lines: u32,
        }
        impl std::io::Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let Some(lines) = self.lines.checked_sub(1) else { return Ok(0) };
                self.lines = lines;
                let line = b"http_reqs,1795312112493,1.000000,,,,,,GET,\"a,b\",,fans,,0,,,\"a,b\",,\n";
                into[..line.len()].copy_from_slice(line);
                Ok(line.len())
            }
        }
        let head = format!("{HEADER}\n");
        let csv = std::io::Read::chain(head.as_bytes(), Endless { lines: 1_000_000 });
        let csv = std::io::Read::chain(csv, LINES.as_bytes());
        let mut recorded = Recorded::default();
        read_csv(BufReader::new(csv), &mut recorded).unwrap();
        assert_eq!((recorded.arrived, recorded.counts().right), (1, 1));
    }

    #[test]
    fn commas_within_quotes_part_nothing() {
        let read = |line| fields(line).collect::<Vec<_>>();
        assert_eq!(read(r#"a,"b,c",,"d""e,f",g"#), ["a", "b,c", "", r#"d""e,f"#, "g"]);
        assert_eq!(read(""), [""]);
        assert_eq!(read("a,"), ["a", ""]);
        assert_eq!(read(r#""never closed, so"#), [r#""never closed, so"#]);
    }

    #[test]
    fn numbers_are_read_as_k6_writes_them() {
        assert_eq!(
            (micros("12.345679"), micros("0.000000"), micros("61000")),
            (Some(12_345), Some(0), Some(61_000_000))
        );
        assert_eq!((micros("-1.0"), micros("NaN"), micros("")), (None, None, None));
        assert_eq!((whole("17.000000"), whole("3"), whole("x")), (Some(17), Some(3), None));
    }

    #[test]
    fn successes_wrong_answers_and_complaints_are_told_apart() {
        let log = "success join 5 17\nsuccess reserve 5 0198c0de-0000-7000-8000-000000000001\nRequest Failed\n\
                   wrong reserve seat_lost {\"code\":\"seat_lost\"}\nInsufficient VUs, reached 3 active VUs\n\
                   Insufficient VUs, reached 3 active VUs\nsuccess dance 1 2\n";
        let mut recorded = Recorded::default();
        read_log(log.as_bytes(), &mut recorded).unwrap();
        let id = "0198c0de-0000-7000-8000-000000000001".to_owned();
        let join = Success { what: "join", fan: 5, id: "17".to_owned() };
        assert_eq!(recorded.successes, [join, Success { what: "reserve", fan: 5, id }]);
        assert_eq!(recorded.wrongs, ["reserve seat_lost {\"code\":\"seat_lost\"}"]);
        assert_eq!(recorded.notes, ["k6: Insufficient VUs, reached 3 active VUs", "k6: success dance 1 2"]);
        assert_eq!(recorded.unfinished, None);
    }

    #[test]
    fn a_script_that_fails_has_not_sent_all_its_fans() {
        let error = "TypeError: Cannot read property 'x' of undefined";
        let log =
            format!("{error}\n\tat join (file:///fan.js:3:1(2))\n\tat default (file:///fan.js:9:1(2))\n\n").repeat(2);
        let mut recorded = Recorded::default();
        read_log(log.as_bytes(), &mut recorded).unwrap();
        assert_eq!(recorded.unfinished, Some(format!("its script failed 2 times, first with: {error}")));
        assert_eq!(recorded.notes, [format!("k6: {error}")]);
    }
}
