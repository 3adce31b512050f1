//! The scripts of the line: what each is given and what it answers. See "How a script is called" in docs/LINE.md.

use super::script::{Declaration, Field, Script};

macro_rules! scripts {
    ($(
        $(#[$note:meta])*
        $script:ident ($($argument:ident),* $(; $($member:ident),+)?)
            -> ($($field:ident $([$($column:ident),+])?),*);
    )*) => {
        /// Every script, by the name of its file.
        pub(super) struct Scripts {
            $($(#[$note])* pub(super) $script: Script,)*
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {
                    $($script: Script::new(
                        Declaration {
                            name: stringify!($script),
                            arguments: &[$(stringify!($argument)),*],
                            group: &[$($(stringify!($member)),+)?],
                            reply: &[$(Field {
                                name: stringify!($field),
                                columns: &[$($(Field { name: stringify!($column), columns: &[] }),+)?],
                            }),*],
                        },
                        include_str!(concat!("scripts/", stringify!($script), ".lua")),
                    ),)*
                }
            }

            /// Every script with its own text.
            #[cfg(test)]
            fn all(&self) -> Vec<(&Script, &'static str)> {
                vec![$((&self.$script, include_str!(concat!("scripts/", stringify!($script), ".lua")))),*]
            }
        }
    };
}

// name (arguments; arguments of a group, which is given again and again) -> (what is answered, [of each group of a list]);
scripts! {
    /// Enters places that the database has.
    enter (first_number, last_number, how; fan, number, id, moved) -> (entered, places [kind, value]);
    /// Where a fan is.
    place (fan, shown, how) -> (entered, number, id, kind, value);
    /// Lets an active fan through the gate.
    admit (fan, shown, lasts_ms) -> (entered, number);
    /// Ends a place that the database has ended.
    leave (fan, number) -> ();
    /// Ends a turn that was paid.
    end_paid (fan, number) -> ();
    /// Ends turns that ran out.
    sweep () -> (expired, lapsed, more, asked [fan, mark], entered);
    /// Tells of holds, which keep slots.
    keep (; fan, told, mark) -> (asked);
    /// Who has a turn or may come back.
    turns (most) -> (turns [fan, number]);
    /// One tick.
    promote (version, state, policy_text, message, sold, admit) -> (life, due, more, waiting, taken, limit, now, promoted);
    /// What is not in the database yet.
    news (most, any_life) -> (
        life, now, active, limit, newest_ms, newest_counter, events [ms, counter, kind, numbers], calls [fan, number]
    );
    /// What is in the database now.
    written (life, oldest_to_keep; fan, number, over) -> (opened);
    /// Everything that answers polls for a while.
    snapshot (known, most) -> (
        life, now, next_at, seq, served, passed, state, policy, sold, message, waiting, returning, active, registered,
        promoted, expired, lapsed, returned, left, forfeited, before, entries [entry]
    );
    /// Whether the line lives here.
    loading () -> ();
    /// Empties the line for a new life.
    begin_load (life, newest, version, policy_text) -> ();
    /// Loads places.
    load_places (life; fan, number, id, at, ms, came_back) -> ();
    /// Loads slots of holders without a turn.
    load_holds (life; fan, left_ms) -> ();
    /// The line lives.
    end_load (
        life, entered, passed, last_call_ms, promoted_total, expired_total, lapsed_total, returned_total, left_total,
        forfeited_total
    ) -> ();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{line::LINE_KEYS, words};
    use super::*;

    const PRELUDE: &str = include_str!("scripts/prelude.lua");

    /// The keys as the prelude takes them.
    fn keys() -> Vec<&'static str> {
        let list = PRELUDE.split("= unpack(KEYS)").next().unwrap().split("\nlocal ").nth(1).unwrap();
        let lines = list.lines().map(|line| line.split("--").next().unwrap().trim().trim_end_matches(','));
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// Every local of the prelude but the keys.
    fn locals() -> Vec<&'static str> {
        let name_of = |line: &'static str| line.strip_prefix("local function ").or_else(|| line.strip_prefix("local "));
        let end = |c: char| !words::is_of_name(c);
        PRELUDE.lines().filter_map(name_of).map(|rest| rest.split(end).next().unwrap()).collect()
    }

    #[test]
    fn keys_have_the_same_names_and_order_in_the_prelude() {
        assert_eq!(keys(), LINE_KEYS);
    }

    #[test]
    fn no_argument_hides_behind_another_name() {
        let taken: BTreeSet<_> = keys().into_iter().chain(locals()).collect();
        assert!(taken.contains("whereabouts") && taken.contains("now"), "{taken:?}");
        for (script, _) in Scripts::new().all() {
            let declared = script.declared();
            let mut names = BTreeSet::new();
            for name in declared.arguments.iter().chain(declared.group) {
                assert!(!taken.contains(name) && names.insert(name), "{name} of {}", declared.name);
            }
        }
    }

    #[test]
    fn groups_are_taken_by_the_names_that_are_declared() {
        for (script, text) in Scripts::new().all() {
            let declared = script.declared();
            let taken = format!("for {} in groups() do", declared.group.join(", "));
            assert_eq!(text.contains("groups()"), !declared.group.is_empty(), "{}", declared.name);
            assert!(declared.group.is_empty() || text.contains(&taken), "{} has no: {taken}", declared.name);
        }
    }

    /// A script without its comments.
    fn code_of(text: &str) -> String {
        let lines: Vec<_> = text.lines().filter_map(|line| line.split("--").next()).collect();
        lines.join("\n")
    }

    #[test]
    fn every_argument_is_used_and_every_answer_is_given() {
        for (script, text) in Scripts::new().all() {
            let (declared, code) = (script.declared(), code_of(text));
            let used: BTreeSet<_> = code.split(|c: char| !words::is_of_name(c)).collect();
            for name in declared.arguments.iter().chain(declared.group) {
                assert!(used.contains(name), "{} does not use {name}", declared.name);
            }
            for field in declared.reply {
                assert!(code.contains(&format!("{} = ", field.name)), "{} does not say {}", declared.name, field.name);
            }
        }
    }

    #[test]
    fn every_name_in_capitals_is_a_word_and_no_text_is_one() {
        let vocabulary = words::all();
        let own = ["ARGV", "KEYS", "GROUPS_FROM", "GROUP"];
        for text in Scripts::new().all().into_iter().map(|(_, text)| text).chain([PRELUDE]) {
            for (index, part) in code_of(text).split('\'').enumerate() {
                let is_text = index % 2 == 1;
                for name in part.split(|c: char| !words::is_of_name(c)) {
                    let is_known = vocabulary.contains_key(name);
                    let is_capital = name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                    assert!(!(is_text && is_known), "'{name}' would become another text");
                    assert!(is_text || is_known || !is_capital || own.contains(&name), "{name} is no word");
                }
            }
        }
    }
}
