//! Server-sent events, as they come.

use std::str;

/// One block of a stream: an event, or a comment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Empty for a comment.
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// What has come of a stream and is not read yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) input: Vec<u8>,
}

impl Events {
    /// The next block, once all of it is there.
    pub(super) fn next(&mut self) -> Option<Event> {
        let end = self.input.windows(2).position(|two| two == b"\n\n")?;
        let mut event = Event::default();
        let block = str::from_utf8(self.input.get(..end).unwrap_or_default()).unwrap_or_default();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => event.id = Some(value.to_owned()),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => {
                    event.data.push('\n');
                    event.data.push_str(value);
                }
                // Comments, and when to connect again.
                _ => {}
            }
        }
        if event.name.is_empty() && !event.data.is_empty() {
            "message".clone_into(&mut event.name);
        }
        self.input.drain(..end + 2);
        if self.input.is_empty() {
            // Thousands wait for the next one.
            self.input = Vec::new();
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "retry: 3000\nid: 43300-on_sale-41200\nevent: place\ndata: {\"state\":\"waiting\"}\n\n: still here\n\n\
                        event: end\ndata: {\"code\":\n\
                        data:\"not_in_line\"}\n\ndata: x\n\n";

    #[test]
    fn events_and_comments_are_read_however_they_are_cut() {
        for step in 1..SENT.len() {
            let (mut events, mut read) = (Events::default(), vec![]);
            for part in SENT.as_bytes().chunks(step) {
                events.input.extend_from_slice(part);
                read.extend(std::iter::from_fn(|| events.next()));
            }
            let names: Vec<&str> = read.iter().map(|event| event.name.as_str()).collect();
            assert_eq!(names, ["place", "", "end", "message"], "in parts of {step}");
            assert_eq!(read[0].id.as_deref(), Some("43300-on_sale-41200"));
            assert_eq!((read[0].data.as_str(), read[1].data.as_str()), ("{\"state\":\"waiting\"}", ""));
            assert_eq!(read[2].data, "{\"code\":\n\"not_in_line\"}");
            assert_eq!((&read[2].id, events.input.len()), (&None, 0));
        }
    }

    #[test]
    fn half_an_event_waits() {
        let mut events = Events { input: b"event: place\ndata: {}\n".to_vec() };
        assert_eq!(events.next(), None);
        events.input.push(b'\n');
        assert_eq!(events.next().map(|event| event.data), Some("{}".to_owned()));
    }
}
