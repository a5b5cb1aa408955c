//! What mappings and caches count, and nothing else: who is next to give a page up, and who has left.

pub(crate) mod ghosts;
pub(crate) mod givers;
