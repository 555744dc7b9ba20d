//! Sizes that don't fit into the memory that this process may take.

use super::Analysis;
use crate::{
    config::{diagnostic::Finding, reader::At},
    memory,
};

/// A cache of tokens that leaves too little for all else. Where a file is checked on another machine than it serves on,
/// the gateway says it when it starts.
pub(super) fn warnings(analysis: &Analysis<'_>) -> Vec<Finding> {
    let written = analysis.file.token_cache_bytes.as_ref();
    written.into_iter().filter_map(|size| too_large(size, memory::limit()?)).collect()
}

fn too_large(size: &At<u64>, limit: u64) -> Option<Finding> {
    if size.value <= limit / 2 {
        return None;
    }
    let message = format!("more than half of the {} MiB of memory that this process may take", limit >> 20);
    Some(size.warning(message).hint(
        "verified tokens would crowd out connections, and the process would be ended: leave it out (then it is a quarter), \
         or raise the memory limit",
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Span;

    #[test]
    fn a_cache_takes_no_more_than_half_of_the_memory() {
        let size =
            |value| At { value, span: Span::default(), path: "token_cache.max_bytes".to_owned(), foreign: false };
        assert!(too_large(&size(32 << 20), 64 << 20).is_none());
        let warning = too_large(&size((32 << 20) + 1), 64 << 20).unwrap();
        assert_eq!(warning.message, "more than half of the 64 MiB of memory that this process may take");
    }
}
