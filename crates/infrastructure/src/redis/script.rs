//! What goes into the line's scripts and comes out of them.

use chrono::{DateTime, Utc};
use deadpool_redis::redis::Value;
use onsale_application::{
    error::StoreError,
    line::{Held, QueueTicket, Whereabouts},
};
use onsale_domain::{
    concert::SaleState,
    ids::{ConcertId, UserId},
};
use uuid::Uuid;

/// Arguments of a script, as bytes.
#[derive(Default)]
pub(super) struct Arguments(pub(super) Vec<Vec<u8>>);

impl Arguments {
    pub(super) fn id(mut self, id: Uuid) -> Self {
        self.0.push(id.as_bytes().to_vec());
        self
    }

    pub(super) fn optional_id(self, id: Option<Uuid>) -> Self {
        match id {
            Some(id) => self.id(id),
            None => self.text(""),
        }
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.push(text.as_bytes().to_vec());
        self
    }

    pub(super) fn number(self, number: impl Into<i64>) -> Self {
        self.text(&number.into().to_string())
    }
}

pub(super) fn odd(what: &str) -> StoreError {
    StoreError::Broken(format!("a script answered {what}").into())
}

/// A script's answer, read field by field. Numbers come as integers or as text, for Lua's are inexact beyond 2^53.
pub(super) struct Fields<'a>(pub(super) &'a [Value]);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(items) => Ok(Self(items)),
            _ => Err(odd("no list")),
        }
    }

    pub(super) fn field(&self, index: usize) -> Result<&'a Value, StoreError> {
        self.0.get(index).ok_or_else(|| odd("too few fields"))
    }

    pub(super) fn bytes(&self, index: usize) -> Result<&'a [u8], StoreError> {
        match self.field(index)? {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.as_bytes()),
            _ => Err(odd("something that is no text")),
        }
    }

    pub(super) fn text(&self, index: usize) -> Result<&'a str, StoreError> {
        std::str::from_utf8(self.bytes(index)?).map_err(|_| odd("something that is no text"))
    }

    pub(super) fn number(&self, index: usize) -> Result<i64, StoreError> {
        if let Value::Int(number) = self.field(index)? {
            return Ok(*number);
        }
        self.text(index)?.parse().map_err(|_| odd("something that is no number"))
    }

    pub(super) fn small(&self, index: usize) -> Result<i32, StoreError> {
        i32::try_from(self.number(index)?).map_err(|_| odd("too large a number"))
    }

    pub(super) fn seconds(&self, index: usize) -> Result<i32, StoreError> {
        i32::try_from(self.number(index)? / 1_000).map_err(|_| odd("too long a time"))
    }

    pub(super) fn id(&self, index: usize) -> Result<Uuid, StoreError> {
        Uuid::from_slice(self.bytes(index)?).map_err(|_| odd("an id that is none"))
    }

    pub(super) fn state(&self, index: usize) -> Result<SaleState, StoreError> {
        SaleState::parse(self.text(index)?).ok_or_else(|| odd("an unknown sale state"))
    }

    pub(super) fn list(&self, index: usize) -> Result<Fields<'a>, StoreError> {
        Fields::of(self.field(index)?)
    }

    /// The items from `start` on in groups of `size`.
    pub(super) fn groups(&self, start: usize, size: usize) -> impl Iterator<Item = Fields<'a>> {
        self.0.get(start..).unwrap_or_default().chunks_exact(size).map(Fields)
    }

    /// number, id, kind, value from index 1 on.
    pub(super) fn held(&self, concert_id: ConcertId, user_id: UserId) -> Result<Held, StoreError> {
        let ticket = QueueTicket { concert_id, user_id, number: self.number(1)?, id: self.id(2)? };
        Ok(Held { ticket, at: whereabouts(self, 3)? })
    }
}

/// Kind and value from `index` on, as whereabouts in prelude.lua answers them.
pub(super) fn whereabouts(fields: &Fields<'_>, index: usize) -> Result<Whereabouts, StoreError> {
    Ok(match fields.text(index)? {
        "a" => Whereabouts::Active { expires_at: instant(fields.number(index + 1)?)? },
        "w" => Whereabouts::Waiting,
        "c" => Whereabouts::Called,
        "b" => Whereabouts::Back { ahead: fields.number(index + 1)? },
        "p" => Whereabouts::PreQueue,
        "l" => Whereabouts::Lapsed { until: instant(fields.number(index + 1)?)? },
        _ => return Err(odd("an unknown place")),
    })
}

pub(super) fn instant(millis: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_millis(millis).ok_or_else(|| odd("an impossible time"))
}
