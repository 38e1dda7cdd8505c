//! Just enough of Rust's grammar to find paths: words and marks, without comments and literals.

/// A word, `::`, or a single other mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// The tokens of a source file; lines are counted from one.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let skipped =
            if first.is_whitespace() { Some(first.len_utf8()) } else { comment(rest).or(literal(rest)) };
        let (text, after) = rest.split_at(skipped.unwrap_or_else(|| token(rest, first)));
        if skipped.is_none() {
            found.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// The tokens without the items under `#[cfg(test)]`: tests may use what the code they test may not.
pub(super) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut rest) = (Vec::new(), tokens);
    while let Some((first, after)) = rest.split_first() {
        if rest.len() > CFG_TEST.len() && rest.iter().zip(CFG_TEST).all(|(token, text)| token.text == text) {
            rest = after_item(rest.get(CFG_TEST.len()..).unwrap_or_default());
        } else {
            kept.push(*first);
            rest = after;
        }
    }
    kept
}

/// What follows the item at the beginning: it ends with its outermost `;` or `}`.
fn after_item<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_usize;
    let end = tokens.iter().position(|token| {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(token.text, ";" | "}")
    });
    end.and_then(|end| tokens.get(end + 1..)).unwrap_or_default()
}

fn token(rest: &str, first: char) -> usize {
    match word(rest) {
        0 if rest.starts_with("::") => 2,
        0 => first.len_utf8(),
        len => len,
    }
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut inside = rest.strip_prefix("/*")?;
    let mut depth = 1;
    while depth > 0 {
        let Some(mark) = inside.find(['/', '*']) else { return Some(rest.len()) };
        inside = inside.split_at(mark).1;
        let step = match inside.get(..2) {
            Some("/*") => (1, 2),
            Some("*/") => (-1, 2),
            _ => (0, 1),
        };
        depth += step.0;
        inside = inside.split_at(step.1).1;
    }
    Some(rest.len() - inside.len())
}

fn literal(rest: &str) -> Option<usize> {
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.chars();
        return match (chars.next()?, chars.next()) {
            ('\\', Some(escaped)) => {
                quoted(inside.split_at(1 + escaped.len_utf8()).1, '\'').map(|rest| rest.len())
            }
            (one, Some('\'')) => Some(inside.split_at(one.len_utf8() + 1).1.len()),
            _ => None, // a lifetime
        }
        .map(|left| rest.len() - left);
    }
    let body = rest.trim_start_matches(['b', 'c', 'r']);
    let is_raw = rest.split_at(rest.len() - body.len()).0.contains('r');
    let text = body.trim_start_matches('#');
    let hashes = body.len() - text.len();
    let text = text.strip_prefix('"')?;
    let left = if is_raw {
        text.split_once(&format!("\"{}", "#".repeat(hashes))).map_or("", |(_, left)| left)
    } else if hashes == 0 {
        quoted(text, '"').unwrap_or_default()
    } else {
        return None;
    };
    Some(rest.len() - left.len())
}

/// What follows the closing quote, backslashes respected.
fn quoted(inside: &str, quote: char) -> Option<&str> {
    let mut chars = inside.chars();
    loop {
        match chars.next()? {
            '\\' => drop(chars.next()),
            c if c == quote => return Some(chars.as_str()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> String {
        tokens(source).iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_and_marks_are_kept() {
        assert_eq!(texts("use crate::{a, b as c};"), "use crate :: { a , b as c } ;");
        assert_eq!(texts("fn f<'a>(x: &'a r#type) {}"), "fn f < ' a > ( x : & ' a r # type ) { }");
    }

    #[test]
    fn comments_are_not() {
        assert_eq!(texts("a // b\n/// c\n//! d\ne"), "a e");
        assert_eq!(texts("a /* b /* c */ d **/ e"), "a e");
        assert_eq!(texts("a /* never closed"), "a");
        assert_eq!(texts("a / b * c"), "a / b * c");
    }

    #[test]
    fn literals_are_not() {
        assert_eq!(texts(r#"a "b \" c \\" d"#), "a d");
        assert_eq!(texts(r###"a r#"b "c" \"# d br"e\" f c"g" h"###), "a d f h");
        assert_eq!(texts(r"a 'b' '\'' '\u{e9}' '\\' 'é' c"), "a c");
        assert_eq!(texts("a b'\"' c"), "a b c");
        assert_eq!(texts("a \"never closed"), "a");
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let found = tokens("a\n/* \n */ b \"\n\n\" c\n// d\ne");
        let lines: Vec<_> = found.iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("c", 5), ("e", 7)]);
    }

    #[test]
    fn items_under_cfg_test_are_left_out() {
        let source = "a #[cfg(test)] mod tests { use b; fn c() { d } } e #[cfg(test)] use f::{g, h}; i \
                      #[cfg(test)] fn j(k: [u8; 3]) { l } m #[cfg(not(test))] n";
        let kept: Vec<_> = without_tests(&tokens(source)).iter().map(|token| token.text).collect();
        // `use f::{g, h};` leaves its semicolon, which is harmless.
        assert_eq!(kept.join(" "), "a e ; i m # [ cfg ( not ( test ) ) ] n");
    }
}
