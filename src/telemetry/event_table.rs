//! What a table of events becomes.
//!
//! Owns the form of a line in that table, and the code that is made of it. It deliberately has no events.

use crate::telemetry::level::Level;
use crate::telemetry::quota::Quota;

/// One line of the table of events, for the message catalog and the tests that hold it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The variant's name.
    pub name: &'static str,
    /// How grave it is.
    pub level: Level,
    /// Its MESSAGE_ID (systemd.journal-fields(7)), 32 hexadecimal digits.
    pub message_id: &'static str,
    /// Its fields, as they are called in the source: the journal has them in upper case.
    pub fields: &'static [&'static str],
    /// How many are logged.
    pub quota: Quota,
}

/// The quota of an event that has none of its own.
macro_rules! quota {
    () => {
        Quota::All
    };
    ($quota:ident) => {
        Quota::$quota
    };
}
/// tracing knows no critical level: the journal sink sends these through a layer of their own.
macro_rules! tracing_level {
    (Crit) => {
        tracing::Level::ERROR
    };
    (Error) => {
        tracing::Level::ERROR
    };
    (Warn) => {
        tracing::Level::WARN
    };
    (Info) => {
        tracing::Level::INFO
    };
    (Debug) => {
        tracing::Level::DEBUG
    };
}
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($field:ident: $type:ty),* $(,)? } $level:ident $($quota:ident)? $id:literal
        $message:literal $(, $argument:ident = $value:expr)*
    )*) => {
        /// Something that the service has to say, with what it has to say it about.
        #[derive(Clone, Debug)]
        pub enum Event {
            $(
                $(#[$doc])*
                $name {
                    $(
                        #[doc = concat!("`", stringify!($field), "`, in upper case in the journal.")]
                        $field: $type,
                    )*
                },
            )*
        }
        impl Event {
            /// The table of all events.
            pub const KINDS: &[Kind] = &[
                $(Kind {
                    name: stringify!($name),
                    level: Level::$level,
                    message_id: $id,
                    fields: &[$(stringify!($field)),*],
                    quota: quota!($($quota)?),
                },)*
            ];
            /// The first field of this type.
            fn field<T: Copy + 'static>(&self) -> Option<T> {
                match self {
                    $(Self::$name { $($field),* } => {
                        $(if let Some(found) = ($field as &dyn Any).downcast_ref() {
                            return Some(*found);
                        })*
                        None
                    })*
                }
            }
            /// What it is called.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                }
            }
            /// How many of its kind are logged.
            pub fn quota(&self) -> Quota {
                match self {
                    $(Self::$name { .. } => quota!($($quota)?),)*
                }
            }
            /// How grave it is.
            pub fn level(&self) -> Level {
                match self {
                    $(Self::$name { .. } => Level::$level,)*
                }
            }
            /// Its one line of text.
            pub fn message(&self) -> String {
                match self {
                    $(Self::$name { $($field),* } => {
                        let _ = ($($field,)*);
                        format!($message $(, $argument = $value)*)
                    })*
                }
            }
            /// Sends it to this thread's tracing subscriber, field by field.
            pub fn emit(&self) {
                match self {
                    $(Self::$name { $($field),* } => tracing::event!(
                        tracing_level!($level),
                        message_id = $id,
                        $($field = %$field,)*
                        $message
                        $(, $argument = $value)*
                    ),)*
                }
            }
        }
    };
}
pub(super) use {events, quota, tracing_level};
