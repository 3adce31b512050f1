//! The report as one HTML file that needs nothing else.

use super::{
    Run, pictures,
    text::{self, Table},
};
use crate::html::{escape, page};

/// Where there is nothing to list, to tabulate or to draw.
const NOTHING: &str = "<p>Nothing.</p>";

/// The whole page.
pub(super) fn report(run: &Run) -> String {
    let (outcome, reasons) = run.outcome();
    let totals = run.recorded.steps();
    let findings = run.findings.iter().map(|finding| {
        let holds = if finding.holds { "holds" } else { "BROKEN" };
        vec![finding.name.clone(), holds.to_owned(), finding.detail.clone()]
    });
    let outcomes = totals.iter().map(|step| vec![step.step.clone(), text::outcomes(step)]);
    let circumstances = text::circumstances(run).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let charts: Vec<String> =
        pictures::all(run).iter().map(|chart| format!("<figure>{}</figure>", inline(&chart.svg()))).collect();
    let parts: Vec<String> = vec![
        paragraph(&run.scenario.about),
        if reasons.is_empty() { String::new() } else { list(&reasons) },
        paragraph(&text::summary(run)),
        heading("What was checked afterwards"),
        table(&Table { head: vec!["", "", "detail"], rows: findings.collect() }),
        heading("Requests"),
        table(&text::steps(&totals)),
        paragraph(text::ABOUT_TIMES),
        table(&Table { head: vec!["step", "outcomes"], rows: outcomes.collect() }),
        heading("Wrong answers"),
        list(&run.recorded.wrongs),
        heading("What the generator says"),
        list(&run.recorded.notes),
        heading("Processes"),
        table(&text::processes(run)),
        paragraph(&run.place()),
        heading("Over time"),
        lines(&charts),
        heading("How it was run"),
        table(&Table { head: vec!["", ""], rows: circumstances.collect() }),
    ];
    page(&format!("{}: {}", outcome.as_str(), run.scenario.title), &lines(&parts))
}

/// Parts of the page, each on lines of its own.
fn lines(parts: &[String]) -> String {
    if parts.is_empty() { NOTHING.to_owned() } else { parts.join("\n") }
}

fn heading(text: &str) -> String {
    format!("<h2>{}</h2>", escape(text))
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>", escape(text))
}

/// A picture as it stands within HTML: what only a file of its own needs is left out.
fn inline(svg: &str) -> String {
    let from = svg.find("<svg").unwrap_or_default();
    svg.get(from..).unwrap_or_default().replace(" xmlns=\"http://www.w3.org/2000/svg\"", "")
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() {
        return NOTHING.to_owned();
    }
    let items: Vec<String> = texts.iter().map(|text| format!("<li>{}</li>", escape(text))).collect();
    format!("<ul>\n{}\n</ul>", lines(&items))
}

fn table(table: &Table) -> String {
    if table.rows.is_empty() {
        return NOTHING.to_owned();
    }
    let rows: Vec<String> = table.rows.iter().map(|row| row_of("td", row.iter().map(String::as_str))).collect();
    let head = row_of("th", table.head.iter().copied());
    format!("<table>\n<thead>{head}</thead>\n<tbody>\n{}\n</tbody>\n</table>", lines(&rows))
}

fn row_of<'a>(tag: &str, cells: impl Iterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
    format!("<tr>{}</tr>", cells.concat())
}

#[cfg(test)]
mod tests {
    use super::{
        super::text::tests::{finding, run},
        *,
    };

    #[test]
    fn the_page_needs_nothing_from_anywhere() {
        let run = run();
        let html = report(&run);
        let without_address = html.replace(&run.base_urls[0], "");
        for reference in ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link"] {
            assert!(!without_address.contains(reference), "{reference} in {without_address}");
        }
        assert!(html.contains(&run.base_urls[0]), "the address of the server is told");
    }

    #[test]
    fn the_page_has_charts_and_tables_and_escapes_what_others_said() {
        let mut run = run();
        run.findings.push(finding("<nobody> lost", false));
        let html = report(&run);
        assert!(html.matches("<svg").count() > 10, "{}", html.matches("<svg").count());
        for text in
            ["FAIL: 1,200 fans &amp; more", "&lt;nobody&gt; lost", "&lt;b&gt;Insufficient&lt;/b&gt; VUs", "BROKEN"]
        {
            assert!(html.contains(text), "{text} is not in the page");
        }
        assert!(!html.contains("<nobody>") && !html.contains("<b>Insufficient"));
    }

    #[test]
    fn a_picture_becomes_a_part_of_the_page() {
        let svg = "<?xml version=\"1.0\"?>\n<svg width=\"1\" xmlns=\"http://www.w3.org/2000/svg\"><g/></svg>";
        assert_eq!(inline(svg), "<svg width=\"1\"><g/></svg>");
    }
}
