//! Pages of lists.

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// The items.
    pub items: Vec<T>,
    /// Behind what the next page starts, if there is one.
    pub next: Option<K>,
}

/// How many rows to read for a page of `limit` items: one more, to see whether there is a next page.
pub fn rows_for(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1
}

impl<T, K> Page<T, K> {
    /// The page of a list that was read with [`rows_for`]; the next one starts behind the `key` of the last item.
    pub fn cut(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }

    /// The same page of something else.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U, K> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_one_only_when_there_is_more() {
        assert_eq!(rows_for(2), 3);
        let page = Page::cut(vec![5, 4, 3], 2, |item| *item);
        assert_eq!((page.items, page.next), (vec![5, 4], Some(4)));
        let last = Page::cut(vec![5, 4], 2, |item| *item);
        assert_eq!((last.items, last.next), (vec![5, 4], None));
    }
}
