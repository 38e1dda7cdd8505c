//! Pages of which a part is written by a program, between two lines that say so.

/// The page with this text between its markers.
pub(crate) fn between(page: &str, begin: &str, end: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- table:begin -->";
    const END: &str = "<!-- table:end -->";

    #[test]
    fn the_text_replaces_what_is_between_the_markers() {
        let page = format!("# Events\n\n{BEGIN}\nold\n{END}\n\nAfter.\n");
        let new = between(&page, BEGIN, END, "| a |\n|---|\n").unwrap();
        assert_eq!(new, format!("# Events\n\n{BEGIN}\n\n| a |\n|---|\n\n{END}\n\nAfter.\n"));
        assert_eq!(
            between(&new, BEGIN, END, "| a |\n|---|\n").unwrap(),
            new,
            "writing twice changes nothing"
        );
    }

    #[test]
    fn a_page_without_both_markers_in_order_is_refused() {
        for page in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert_eq!(between(page, BEGIN, END, "table"), None);
        }
    }
}
