//! Redis through deadpool-redis: the line, and the shared cache of the catalogue.

mod cache;
mod line;
mod script;
mod shared;

pub use cache::RedisCatalogueCache;
pub use line::RedisLines;
pub use shared::{RedisConfig, RedisMode, SharedRedis};
