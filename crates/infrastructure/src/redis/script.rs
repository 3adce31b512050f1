//! How a script is called: what goes into it and what comes out, by the names in its declaration.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use deadpool_redis::redis::Value;
use onsale_application::{error::StoreError, line::Whereabouts};
use onsale_domain::concert::SaleState;
use uuid::Uuid;

use super::{
    shared::LuaScript,
    words::{self, AT_ACTIVE, AT_BACK, AT_CALLED, AT_GONE, AT_LAPSED, AT_PRE_QUEUE, AT_WAITING, NO, YES},
};

const PRELUDE: &str = include_str!("scripts/prelude.lua");

/// What a script is given and what it answers, see `scripts.rs`.
pub(super) struct Declaration {
    /// Of the script, and of its file.
    pub(super) name: &'static str,
    /// Arguments that are given once.
    pub(super) arguments: &'static [&'static str],
    /// Arguments that are given behind those, again and again: once for each fan, mostly.
    pub(super) group: &'static [&'static str],
    /// What it answers behind the status.
    pub(super) reply: &'static [Field],
}

/// What a script answers under one name.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The names in a list of groups; empty when this is no list.
    pub(super) columns: &'static [Field],
}

impl Declaration {
    /// The name of an argument.
    fn argument(&self, index: usize) -> Option<&'static str> {
        match index.checked_sub(self.arguments.len()) {
            None => self.arguments.get(index).copied(),
            Some(behind) => self.group.get(behind.checked_rem(self.group.len())?).copied(),
        }
    }

    /// Whether so many are all arguments and whole groups.
    fn is_whole(&self, many: usize) -> bool {
        let behind = many.checked_sub(self.arguments.len());
        behind.is_some_and(|behind| behind == 0 || behind.checked_rem(self.group.len()) == Some(0))
    }

    /// Lua that gives the arguments their names, tells `groups` of the prelude where they are, and makes `answer`. Of what is
    /// answered, true becomes 1, and false and what a hash does not have become nothing, which is read as 0. What is not
    /// given ends the list.
    fn head(&self) -> String {
        let many = self.arguments.len();
        let mut head = vec![];
        if many > 0 {
            head.push(format!("local {} = unpack(ARGV, 1, {many})\n", self.arguments.join(", ")));
        }
        if !self.group.is_empty() {
            head.push(format!("local GROUPS_FROM, GROUP = {}, {}\n", many + 1, self.group.len()));
        }
        if !self.reply.is_empty() {
            let given: Vec<String> = self.reply.iter().map(|field| format!(", given.{}", field.name)).collect();
            let answer = format!("{{given.status or DONE{}}}", given.concat());
            head.push(format!("local function answer(given) return {answer} end\n"));
        }
        head.concat()
    }
}

/// The names in Lua, without those in comments.
fn names(lua: &str) -> impl Iterator<Item = &str> {
    let code = lua.lines().filter_map(|line| line.split("--").next());
    code.flat_map(|code| code.split(|c: char| !words::is_of_name(c)))
}

/// What a script needs of the prelude: each part that makes no functions, and those that make one that is named. Lua makes
/// functions anew at each call, and one that is not needed costs as much as one that is.
fn prelude_for(script: &str) -> String {
    let mut named: BTreeSet<&str> = names(script).collect();
    let mut needed = vec![];
    // From the end, for functions name those before them.
    for part in PRELUDE.rsplit("\n\n") {
        let mut made = part.lines().filter_map(|line| line.strip_prefix("local function ")).peekable();
        let is_needed = made.peek().is_none()
            || made.any(|function| function.split('(').next().is_some_and(|name| named.contains(name)));
        if is_needed {
            named.extend(names(part));
            needed.push(part);
        }
    }
    needed.reverse();
    needed.join("\n\n")
}

/// A script that can be called.
pub(super) struct Script {
    declared: Declaration,
    pub(super) lua: LuaScript,
}

impl Script {
    /// Puts the head and the prelude before the script's own text. It is the same text each time.
    pub(super) fn new(declared: Declaration, text: &str) -> Self {
        let whole = format!("{}{}\n{text}", declared.head(), prelude_for(text));
        Self { declared, lua: LuaScript::new(words::spelled_out(&whole)) }
    }

    /// No arguments yet.
    pub(super) fn arguments(&self) -> Arguments<'_> {
        Arguments { script: self, values: vec![], stray: None }
    }

    #[cfg(test)]
    pub(super) fn declared(&self) -> &Declaration {
        &self.declared
    }

    /// The status of an answer, and the rest of it.
    pub(super) fn read(&self, answer: Value) -> Result<(i64, Reply), StoreError> {
        let Value::Array(mut values) = answer else { return Err(odd("no list")) };
        let Some(Value::Int(status)) = values.first() else { return Err(odd("no status")) };
        let status = *status;
        values.remove(0);
        Ok((status, Fields { declared: self.declared.reply, values }))
    }
}

/// The arguments of one call, in the order in which the script declares them.
pub(super) struct Arguments<'a> {
    script: &'a Script,
    values: Vec<Vec<u8>>,
    /// The first name that the script does not declare in its place.
    stray: Option<&'static str>,
}

impl<'a> Arguments<'a> {
    fn given(mut self, name: &'static str, value: Vec<u8>) -> Self {
        if self.script.declared.argument(self.values.len()) != Some(name) {
            self.stray = self.stray.or(Some(name));
        }
        self.values.push(value);
        self
    }

    pub(super) fn id(self, name: &'static str, id: Uuid) -> Self {
        self.given(name, id.as_bytes().to_vec())
    }

    /// An id, or nothing.
    pub(super) fn optional_id(self, name: &'static str, id: Option<Uuid>) -> Self {
        self.given(name, id.map(|id| id.as_bytes().to_vec()).unwrap_or_default())
    }

    pub(super) fn text(self, name: &'static str, text: &str) -> Self {
        self.given(name, text.as_bytes().to_vec())
    }

    pub(super) fn number(self, name: &'static str, number: impl Into<i64>) -> Self {
        self.text(name, &number.into().to_string())
    }

    pub(super) fn flag(self, name: &'static str, flag: bool) -> Self {
        self.text(name, if flag { YES } else { NO })
    }

    /// The script and the values, when they are those that the script declares.
    pub(super) fn checked(self) -> Result<(&'a Script, Vec<Vec<u8>>), StoreError> {
        let declared = &self.script.declared;
        if let Some(stray) = self.stray {
            return Err(StoreError::Broken(format!("{} is given {stray} out of place", declared.name).into()));
        }
        if !declared.is_whole(self.values.len()) {
            return Err(StoreError::Broken(format!("{} is given too few arguments", declared.name).into()));
        }
        Ok((self.script, self.values))
    }
}

pub(super) fn odd(what: &str) -> StoreError {
    StoreError::Broken(format!("a script answered {what}").into())
}

/// What a script answered, read by name. Numbers come as integers or as text, for Lua's are inexact beyond 2^53.
pub(super) struct Fields<V> {
    declared: &'static [Field],
    values: V,
}

/// An answer.
pub(super) type Reply = Fields<Vec<Value>>;

/// A group of a list in an answer.
pub(super) type Group<'a> = Fields<&'a [Value]>;

impl<V: AsRef<[Value]>> Fields<V> {
    fn find(&self, name: &'static str) -> Result<(&'static Field, &Value), StoreError> {
        let mut fields = self.declared.iter().zip(self.values.as_ref());
        fields.find(|(field, _)| field.name == name).ok_or_else(|| odd(&format!("without {name}")))
    }

    pub(super) fn bytes(&self, name: &'static str) -> Result<&[u8], StoreError> {
        match self.find(name)?.1 {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.as_bytes()),
            _ => Err(odd(&format!("{name} that is no text"))),
        }
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&str, StoreError> {
        std::str::from_utf8(self.bytes(name)?).map_err(|_| odd(&format!("{name} that is no text")))
    }

    pub(super) fn number(&self, name: &'static str) -> Result<i64, StoreError> {
        match self.find(name)?.1 {
            Value::Int(number) => Ok(*number),
            Value::Nil => Ok(0),
            _ => self.text(name)?.parse().map_err(|_| odd(&format!("{name} that is no number"))),
        }
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<bool, StoreError> {
        Ok(self.number(name)? == 1)
    }

    pub(super) fn id(&self, name: &'static str) -> Result<Uuid, StoreError> {
        Uuid::from_slice(self.bytes(name)?).map_err(|_| odd(&format!("{name} that is no id")))
    }

    pub(super) fn state(&self, name: &'static str) -> Result<SaleState, StoreError> {
        SaleState::parse(self.text(name)?).ok_or_else(|| odd("an unknown sale state"))
    }

    /// The groups of a list.
    pub(super) fn groups(&self, name: &'static str) -> Result<impl Iterator<Item = Group<'_>>, StoreError> {
        let (field, value) = self.find(name)?;
        let Value::Array(items) = value else { return Err(odd(&format!("{name} that is no list"))) };
        let groups = items.chunks_exact(field.columns.len().max(1));
        Ok(groups.map(move |values| Fields { declared: field.columns, values }))
    }

    /// `kind` and `value`, as whereabouts in prelude.lua answers them; nothing when the place is over.
    pub(super) fn whereabouts(&self) -> Result<Option<Whereabouts>, StoreError> {
        Ok(Some(match self.text("kind")? {
            AT_ACTIVE => Whereabouts::Active { expires_at: instant(self.number("value")?)? },
            AT_WAITING => Whereabouts::Waiting,
            AT_CALLED => Whereabouts::Called,
            AT_BACK => Whereabouts::Back { ahead: self.number("value")? },
            AT_PRE_QUEUE => Whereabouts::PreQueue,
            AT_LAPSED => Whereabouts::Lapsed { until: instant(self.number("value")?)? },
            AT_GONE => return Ok(None),
            _ => return Err(odd("an unknown place")),
        }))
    }
}

fn instant(millis: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_millis(millis).ok_or_else(|| odd("an impossible time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: Declaration = Declaration {
        name: "try",
        arguments: &["first", "second"],
        group: &["fan", "number"],
        reply: &[
            Field { name: "entered", columns: &[] },
            Field {
                name: "calls",
                columns: &[Field { name: "fan", columns: &[] }, Field { name: "number", columns: &[] }],
            },
        ],
    };

    #[test]
    fn the_head_names_what_is_given_and_what_is_answered() {
        let head = [
            "local first, second = unpack(ARGV, 1, 2)\n",
            "local GROUPS_FROM, GROUP = 3, 2\n",
            "local function answer(given) return {given.status or DONE, given.entered, given.calls} end\n",
        ];
        assert_eq!(DECLARED.head(), head.concat());
        let nothing = Declaration { name: "try", arguments: &[], group: &[], reply: &[] };
        assert_eq!(nothing.head(), "");
    }

    #[test]
    fn a_script_gets_of_the_prelude_what_it_names() {
        let little = prelude_for("-- arrive\nreturn text(now)");
        assert!(little.contains("= unpack(KEYS)") && little.contains("local now ="));
        assert!(little.contains("function text(") && !little.contains("function arrive("));
        let more = prelude_for("return arrive(fan, number)");
        assert!(
            more.contains("function arrive(")
                && more.contains("function whereabouts(")
                && more.contains("function num(")
        );
        assert!(!more.contains("function slots("));
    }

    #[test]
    fn arguments_that_are_not_declared_there_and_too_few_are_refused() {
        let script = Script::new(DECLARED, "");
        let two = || script.arguments().number("first", 1).flag("second", true);
        assert!(two().checked().is_ok());
        assert!(two().id("fan", Uuid::nil()).number("number", 7).checked().is_ok());
        assert!(two().id("fan", Uuid::nil()).checked().is_err(), "half a group");
        assert!(two().number("number", 7).id("fan", Uuid::nil()).checked().is_err(), "in another order");
        assert!(script.arguments().number("first", 1).checked().is_err(), "one too few");
        assert!(script.arguments().number("second", 1).number("first", 2).checked().is_err());
        let alone = Script::new(Declaration { group: &[], ..DECLARED }, "");
        let three = alone.arguments().number("first", 1).text("second", "").text("third", "");
        assert!(three.checked().is_err(), "one too many");
    }

    #[test]
    fn answers_are_read_by_name() {
        let script = Script::new(DECLARED, "");
        let fan = Uuid::from_bytes([7; 16]);
        let calls = vec![Value::BulkString(fan.as_bytes().to_vec()), Value::BulkString(b"12".to_vec())];
        let answer = Value::Array(vec![Value::Int(words::DONE), Value::Int(5), Value::Array(calls)]);
        let (status, reply) = script.read(answer).unwrap();
        assert_eq!((status, reply.number("entered").unwrap()), (words::DONE, 5));
        let found: Vec<_> =
            reply.groups("calls").unwrap().map(|c| (c.id("fan").unwrap(), c.number("number").unwrap())).collect();
        assert_eq!(found, [(fan, 12)]);
        assert!(reply.number("nothing").is_err());
        let (_, empty) = script.read(Value::Array(vec![Value::Int(words::DONE), Value::Nil])).unwrap();
        assert!(empty.number("entered").unwrap() == 0 && !empty.flag("entered").unwrap());
        let (status, refused) = script.read(Value::Array(vec![Value::Int(words::NO_LIFE)])).unwrap();
        assert!(status == words::NO_LIFE && refused.number("entered").is_err());
        assert!(script.read(Value::Array(vec![])).is_err() && script.read(Value::Nil).is_err());
    }
}
