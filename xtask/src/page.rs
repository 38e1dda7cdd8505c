//! Pages of which a part is written by a program, between two lines that say so.

use std::fs;

use anyhow::{Context, Result, ensure};

/// Where a program writes: in the page at `path`, between `<!-- PART:begin -->` and `<!-- PART:end -->`.
pub(crate) struct Page {
    pub(crate) path: &'static str,
    pub(crate) part: &'static str,
}

impl Page {
    /// Writes the part.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let Self { path, .. } = self;
        let (old, new) = self.pages(text)?;
        if old == new {
            println!("{path} is up to date");
            return Ok(());
        }
        fs::write(path, new).with_context(|| format!("cannot write {path}"))?;
        println!("{path} written");
        Ok(())
    }

    /// Fails when the part is another text; `command` would write this one.
    pub(crate) fn check(&self, text: &str, command: &str) -> Result<()> {
        let (old, new) = self.pages(text)?;
        ensure!(old == new, "{} is stale: run `cargo xtask {command}`", self.path);
        Ok(())
    }

    /// The page as it is, and as it should be.
    fn pages(&self, text: &str) -> Result<(String, String)> {
        let Self { path, part } = self;
        let (begin, end) = (format!("<!-- {part}:begin -->"), format!("<!-- {part}:end -->"));
        let page = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let new = between(&page, &begin, &end, text)
            .with_context(|| format!("{path} needs {begin}, then {end}"))?;
        Ok((page, new))
    }
}

/// The page with this text between its markers.
fn between(page: &str, begin: &str, end: &str, text: &str) -> Option<String> {
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
