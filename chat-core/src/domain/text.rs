//! Text as people see it: search words and emojis.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// The most words a search may have.
pub const MAX_TERMS: usize = 10;

/// Folds case and accents, so that `Élève` and `eleve` are the same word.
pub fn fold(text: &str) -> String {
    text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).nfkc().collect()
}

/// The words of a text, folded, in order, with repeats.
pub fn words(text: &str) -> Vec<String> {
    text.unicode_words().map(fold).filter(|word| !word.is_empty()).collect()
}

/// The byte ranges of the words of `text` that match a search: whole words, or the beginning of one for the last.
///
/// ```
/// use chat_core::domain::text::{Query, matches};
/// let query = Query::new("cafe br").unwrap();
/// assert_eq!(matches("Un café brûlant", &query), Some(vec![(3, 8), (9, 17)]));
/// assert_eq!(matches("Un café froid", &query), None);
/// ```
pub fn matches(text: &str, query: &Query) -> Option<Vec<(usize, usize)>> {
    let mut found = vec![false; query.terms.len()];
    let mut ranges = Vec::new();
    for (start, word) in text.unicode_word_indices() {
        let folded = fold(word);
        let mut hit = false;
        for (i, (term, seen)) in query.terms.iter().zip(&mut found).enumerate() {
            let last = i + 1 == query.terms.len();
            if folded == *term || (last && folded.starts_with(term.as_str())) {
                *seen = true;
                hit = true;
            }
        }
        if hit {
            ranges.push((start, start + word.len()));
        }
    }
    (found.iter().all(|seen| *seen)).then_some(ranges)
}

/// The folded words somebody searches for: all must occur, and the last one may be the beginning of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    terms: Vec<String>,
}

impl Query {
    /// The words of `text`; `None` when it has none, or more than [`MAX_TERMS`].
    pub fn new(text: &str) -> Option<Self> {
        let terms = words(text);
        (!terms.is_empty() && terms.len() <= MAX_TERMS).then_some(Self { terms })
    }

    /// The folded words, the last of which matches as a prefix.
    pub fn terms(&self) -> &[String] {
        &self.terms
    }
}

/// Whether `text` is one grapheme that shows as an emoji.
pub fn is_emoji(text: &str) -> bool {
    let one = text.graphemes(true).count() == 1;
    let pictured = text.chars().any(|c| {
        matches!(u32::from(c),
            0x203C | 0x2049 | 0x2122 | 0x2139 | 0x20E3 | 0x2194..=0x21AA | 0x231A..=0x23FF | 0x24C2 | 0x25AA..=0x25FE
            | 0x2600..=0x27BF | 0x2934..=0x2935 | 0x2B05..=0x2B55 | 0x3030 | 0x303D | 0x3297 | 0x3299
            | 0x1F000..=0x1FAFF)
    });
    one && pictured
}

/// Whether `text` is a `:shortcode:` of ASCII letters, digits, `_`, `+` and `-`.
pub fn is_shortcode(text: &str) -> bool {
    text.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_joins_case_accents_and_widths() {
        assert_eq!(fold("ÉLÈVE"), "eleve");
        assert_eq!(fold("Straße"), "straße");
        assert_eq!(fold("ﬁn"), "fin");
        assert_eq!(words("l'été, à Genève!"), ["l'ete", "a", "geneve"]);
    }

    #[test]
    fn the_last_term_is_a_prefix_and_the_others_are_whole() {
        let hit = |text: &str, query: &str| Query::new(query).and_then(|q| matches(text, &q)).is_some();
        assert!(hit("hello world", "hello wor"));
        assert!(!hit("hello world", "hel world"));
        assert!(hit("world hello", "hello wor"));
        assert!(!hit("anything", "\"-("));
    }

    #[test]
    fn emojis_are_single_pictures() {
        for fine in ["👍", "❤️", "👩‍👩‍👧", "🇨🇭", "1️⃣", "☺"] {
            assert!(is_emoji(fine), "{fine}");
        }
        for bad in ["", "a", "1", "👍👍", "👍a"] {
            assert!(!is_emoji(bad), "{bad}");
        }
        assert!(is_shortcode(":+1:") && !is_shortcode("::") && !is_shortcode(":a b:"));
    }
}
