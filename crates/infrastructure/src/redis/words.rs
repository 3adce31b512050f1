//! Words and numbers that Rust and the scripts share. Each is said once, here or in the domain; a script names it in the same
//! way.

use std::collections::BTreeMap;

use onsale_domain::{concert::SaleState, queue::LogKind};

/// A value as Lua writes it.
trait Literal {
    fn in_lua(&self) -> String;
}

impl Literal for i64 {
    fn in_lua(&self) -> String {
        self.to_string()
    }
}

impl Literal for str {
    fn in_lua(&self) -> String {
        format!("'{self}'")
    }
}

macro_rules! words {
    ($($(#[$note:meta])* $name:ident: $kind:ty = $value:expr;)*) => {
        $($(#[$note])* pub(super) const $name: $kind = $value;)*

        /// The words of this file, with their values in Lua.
        fn constants() -> Vec<(String, String)> {
            vec![$((stringify!($name).to_owned(), $name.in_lua())),*]
        }
    };
}

// First what a script may answer as its status.
words! {
    /// It was done. What the script declares follows.
    DONE: i64 = 1;
    /// The line has not been loaded on this server.
    NO_LIFE: i64 = -3;
    /// The line was loaded on another server, or before this one was restarted.
    OTHER_SERVER: i64 = -4;
    /// That is not the life that the line has, or that is being loaded.
    OTHER_LIFE: i64 = -2;
    /// There is no such place here.
    NOWHERE: i64 = 0;
    /// Another token holds the place.
    MOVED: i64 = 2;
    /// The fan still waits.
    WAITING: i64 = 3;
    /// It was done, as far as there was anything to do, and the database must be asked whether a hold keeps the slot.
    MUST_ASK: i64 = 4;
    /// Somebody loads the line.
    UNDER_WAY: i64 = 5;
    /// Somebody should load it.
    WANTED: i64 = 6;

    /// Where a fan is: past the line; when the place is loaded, with a token that has been used.
    AT_ACTIVE: &str = "a";
    /// Past the line, with a token that has not been used. Only said when a place is loaded.
    AT_UNUSED: &str = "u";
    /// In line.
    AT_WAITING: &str = "w";
    /// In line, under another token than the first. Only said when a place is loaded.
    AT_MOVED: &str = "m";
    /// Called, and not open yet.
    AT_CALLED: &str = "c";
    /// Back at the head after a lapsed turn.
    AT_BACK: &str = "b";
    /// The turn was not used in time; the fan may come back.
    AT_LAPSED: &str = "l";
    /// In the pre-queue.
    AT_PRE_QUEUE: &str = "p";
    /// The place is over.
    AT_GONE: &str = "g";

    /// How fans come: they show up themselves.
    SHOWS_UP: &str = "shows_up";
    /// They, or programs that they left open, look.
    LOOKS: &str = "looks";
    /// Their places were read from the database a while ago.
    FILLED: &str = "filled";
    /// Their places are not here, although the database has had everything from here.
    LOST: &str = "lost";

    /// What is said of holds: they have changed.
    ASK: &str = "ask";
    /// There is one.
    CHECK: &str = "check";

    /// An argument that is so.
    YES: &str = "1";
    /// One that is not.
    NO: &str = "0";
    /// One of which nobody knows.
    UNKNOWN: &str = "";

    /// Most items of each kind that one call of a script works on.
    MOST: i64 = 500;
    /// For so long after its last step a loading is taken to be under way, in milliseconds.
    LOADING_TIMEOUT_MS: i64 = 6_000;
}

/// All words with their values in Lua: those above, the stages of a sale (`STAGE_...`), the kinds of the log (`LOG_...`), and
/// the set of stages in which a line moves (`PROMOTES`).
pub(super) fn all() -> BTreeMap<String, String> {
    let named = |group: &str, word: &str| (format!("{group}_{}", word.to_ascii_uppercase()), word.in_lua());
    let mut words: BTreeMap<String, String> = constants().into_iter().collect();
    words.extend(SaleState::ALL.map(|stage| named("STAGE", stage.as_str())));
    words.extend(LogKind::ALL.map(|kind| named("LOG", kind.as_str())));
    let promoting: Vec<String> = SaleState::ALL
        .into_iter()
        .filter(|stage| stage.promotes())
        .map(|stage| format!("{} = true", stage.as_str()))
        .collect();
    words.insert("PROMOTES".to_owned(), format!("({{{}}})", promoting.join(", ")));
    words
}

/// Whether a name of Lua may have this character.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Lua in which each word is its value. Locals would be set anew at each call.
pub(super) fn spelled_out(script: &str) -> String {
    let words = all();
    // Each part ends with one character that is of no name.
    let parts = script.split_inclusive(|c: char| !is_of_name(c)).map(|part| {
        let (name, end) = part.split_at(part.find(|c: char| !is_of_name(c)).unwrap_or(part.len()));
        [words.get(name).map_or(name, String::as_str), end].concat()
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_become_their_values_and_nothing_else_changes() {
        assert_eq!(spelled_out("if told == ASK then return {MOST} end"), "if told == 'ask' then return {500} end");
        assert_eq!(spelled_out("PROMOTES[stage]"), "({on_sale = true, draining = true})[stage]");
        assert_eq!(spelled_out("{LOG_PAID, STAGE_PAUSED}"), "{'paid', 'paused'}");
        assert_eq!(spelled_out("ASKED = -1\n"), "ASKED = -1\n");
    }

    #[test]
    fn statuses_differ() {
        let statuses = [DONE, NO_LIFE, OTHER_SERVER, OTHER_LIFE, NOWHERE, MOVED, WAITING, MUST_ASK, UNDER_WAY, WANTED];
        assert_eq!(BTreeSet::from(statuses).len(), statuses.len());
    }
}
