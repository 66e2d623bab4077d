//! A picture of a terminal: text with ANSI colours as an SVG.

use super::chart::escape;

const CELL: f64 = 8.4;
const LINE: f64 = 20.0;
const EDGE: f64 = 18.0;
const BAR: f64 = 38.0;

/// The sixteen colours, made for a dark ground: each is read on it (4.5:1 and more), but for black.
const COLOURS: [&str; 16] = [
    "#4b5563", "#ff7b86", "#6fd79a", "#e5c76b", "#8ab8ff", "#d8a1f5", "#6fd6de", "#d6dde6",
    "#8b97a6", "#ff9aa3", "#92e6b3", "#f2da90", "#aeccff", "#e6bffa", "#97e6ec", "#ffffff",
];
const INK: &str = "#d6dde6";
const GROUND: &str = "#12171f";

/// How a stretch of text looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Look {
    ink: Option<String>,
    ground: Option<String>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
}

/// `text` as the picture of a terminal window that is called `title`.
///
/// Colours and weights may be set by ANSI sequences (SGR); others are left out. The picture needs no font but a monospace
/// one, whose width it fixes.
pub fn terminal_svg(text: &str, title: &str) -> String {
    let lines: Vec<Vec<(Look, String)>> = parse(text);
    let columns = lines.iter().map(|line| line.iter().map(|(_, text)| width(text)).sum::<usize>());
    let columns = columns.max().unwrap_or(0).max(title.chars().count() + 16).max(40);
    let (w, h) = (columns as f64 * CELL + 2.0 * EDGE, lines.len() as f64 * LINE + BAR + EDGE);
    let plain: String = lines
        .iter()
        .map(|line| line.iter().map(|(_, text)| text.as_str()).collect::<String>() + "\n")
        .collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.1} {h:.1}\" width=\"{w:.0}\" height=\"{h:.0}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">{title}</title>\n<desc id=\"d\">{}</desc>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"{GROUND}\"/>\n\
         <rect x=\".5\" y=\".5\" width=\"{:.1}\" height=\"{:.1}\" rx=\"9.5\" fill=\"none\" stroke=\"#323c49\"/>\n\
         <g fill=\"#3d4856\"><circle cx=\"20\" cy=\"19\" r=\"6\"/><circle cx=\"40\" cy=\"19\" r=\"6\"/><circle cx=\"60\" cy=\"19\" r=\"6\"/></g>\n\
         <text x=\"50%\" y=\"23.5\" text-anchor=\"middle\" fill=\"#a3afbd\" font-family=\"system-ui,-apple-system,'Segoe UI',sans-serif\" font-size=\"13\">{title}</text>\n\
         <g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\" fill=\"{INK}\">\n",
        escape(plain.trim_end()),
        w - 1.0,
        h - 1.0,
        title = escape(title),
    );
    for (number, line) in lines.iter().enumerate() {
        out.push_str(&draw(line, BAR + number as f64 * LINE));
    }
    out.push_str("</g>\n</svg>\n");
    out
}

/// One line, with its upper edge at `top`. Each stretch stands at its own column, so that columns stay in line whatever
/// the font.
fn draw(line: &[(Look, String)], top: f64) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (look, text) in line {
        let x = EDGE + column as f64 * CELL;
        let wide = width(text) as f64 * CELL;
        column += width(text);
        if let Some(ground) = &look.ground {
            out.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{LINE}\" fill=\"{ground}\"/>"
            ));
        }
        // Blanks at either end need no drawing, and viewers differ in whether they keep them.
        let kept = text.trim();
        if kept.is_empty() {
            continue;
        }
        let blanks = width(text) - width(text.trim_start());
        let (x, long) = (x + blanks as f64 * CELL, width(kept) as f64 * CELL);
        out.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{long:.1}\" lengthAdjust=\"spacingAndGlyphs\"{}>{}</text>",
            top + 14.5,
            attributes(look),
            // Runs of blanks are kept by no viewer but when they may not break.
            escape(&kept.replace(' ', "\u{a0}"))
        ));
    }
    if out.is_empty() { out } else { out + "\n" }
}

fn attributes(look: &Look) -> String {
    let mut out = String::new();
    if let Some(ink) = &look.ink {
        out.push_str(&format!(" fill=\"{ink}\""));
    }
    let flags = [
        (look.bold, " font-weight=\"700\""),
        (look.dim, " fill-opacity=\".68\""),
        (look.italic, " font-style=\"italic\""),
        (look.underlined, " text-decoration=\"underline\""),
    ];
    for (is_set, attribute) in flags {
        if is_set {
            out.push_str(attribute);
        }
    }
    out
}

/// How many columns `text` takes: two for the letters of East Asia and for pictures.
fn width(text: &str) -> usize {
    let one = |letter: char| match u32::from(letter) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xff00..=0xff60 => {
            2
        }
        0x1f300..=0x1faff => 2,
        _ => 1,
    };
    text.chars().map(one).sum()
}

/// The lines of `text` in stretches of one look each, without control characters.
fn parse(text: &str) -> Vec<Vec<(Look, String)>> {
    let mut lines = vec![Vec::new()];
    let (mut look, mut held) = (Look::default(), String::new());
    let mut letters = text.trim_end().chars();
    let keep = |held: &mut String, look: &Look, lines: &mut Vec<Vec<(Look, String)>>| {
        if let (false, Some(line)) = (held.is_empty(), lines.last_mut()) {
            line.push((look.clone(), std::mem::take(held)));
        }
    };
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => {
                keep(&mut held, &look, &mut lines);
                lines.push(Vec::new());
            }
            '\t' => held.push_str("    "),
            '\u{1b}' => {
                if letters.next() != Some('[') {
                    continue;
                }
                let mut codes = String::new();
                let last = letters.by_ref().find(|letter| {
                    let is_last = ('@'..='~').contains(letter);
                    if !is_last {
                        codes.push(*letter);
                    }
                    is_last
                });
                if last == Some('m') {
                    keep(&mut held, &look, &mut lines);
                    set(&mut look, &codes);
                }
            }
            letter if letter.is_control() => {}
            letter => held.push(letter),
        }
    }
    keep(&mut held, &look, &mut lines);
    lines
}

/// Does what the codes of one SGR sequence say.
fn set(look: &mut Look, codes: &str) {
    let mut codes = codes.split(';').map(|code| code.parse::<usize>().unwrap_or(0));
    while let Some(code) = codes.next() {
        match code {
            0 => *look = Look::default(),
            1 => look.bold = true,
            2 => look.dim = true,
            3 => look.italic = true,
            4 => look.underlined = true,
            22 => (look.bold, look.dim) = (false, false),
            23 => look.italic = false,
            24 => look.underlined = false,
            30..=37 => look.ink = Some(COLOURS[code - 30].to_owned()),
            38 => look.ink = many(&mut codes),
            39 => look.ink = None,
            40..=47 => look.ground = Some(COLOURS[code - 40].to_owned()),
            48 => look.ground = many(&mut codes),
            49 => look.ground = None,
            90..=97 => look.ink = Some(COLOURS[code - 82].to_owned()),
            100..=107 => look.ground = Some(COLOURS[code - 92].to_owned()),
            _ => {}
        }
    }
}

/// One of 256 colours (`5;n`) or of all (`2;r;g;b`).
fn many(codes: &mut impl Iterator<Item = usize>) -> Option<String> {
    let (red, green, blue) = match codes.next()? {
        2 => (codes.next()?, codes.next()?, codes.next()?),
        5 => match codes.next()? {
            code @ 0..=15 => return Some(COLOURS[code].to_owned()),
            code @ 16..=231 => {
                let level = |step: usize| if step == 0 { 0 } else { 55 + step * 40 };
                let code = code - 16;
                (level(code / 36), level(code / 6 % 6), level(code % 6))
            }
            code @ 232..=255 => {
                (8 + (code - 232) * 10, 8 + (code - 232) * 10, 8 + (code - 232) * 10)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(format!("#{:02x}{:02x}{:02x}", red.min(255), green.min(255), blue.min(255)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> (Look, String) {
        (Look::default(), text.to_owned())
    }

    #[test]
    fn ansi_becomes_stretches_of_one_look() {
        let green = Look { ink: Some(COLOURS[2].into()), bold: true, ..Look::default() };
        let rows = [
            ("a\nb", vec![vec![plain("a")], vec![plain("b")]]),
            ("\x1b[1;32mok\x1b[0m no", vec![vec![(green.clone(), "ok".into()), plain(" no")]]),
            (
                "\x1b[1;32mok\nit\x1b[m",
                vec![vec![(green.clone(), "ok".into())], vec![(green, "it".into())]],
            ),
            ("x\x1b[2Ky\x07\r", vec![vec![plain("xy")]]),
            (
                "\x1b[38;2;1;2;300mz",
                vec![vec![(Look { ink: Some("#0102ff".into()), ..Look::default() }, "z".into())]],
            ),
            (
                "\x1b[48;5;196mz",
                vec![vec![(
                    Look { ground: Some("#ff0000".into()), ..Look::default() },
                    "z".into(),
                )]],
            ),
            ("\x1b[", vec![vec![]]),
        ];
        for (text, wanted) in rows {
            assert_eq!(parse(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_a_terminal_shows_cannot_become_markup() {
        let svg = terminal_svg("<script>&\u{1b}[31m\"x\"", "a <b>");
        assert!(!svg.contains("<script>") && !svg.contains("<b>"));
        assert!(svg.contains("&lt;script&gt;&amp;") && svg.contains("&quot;x&quot;"));
    }

    #[test]
    fn columns_stay_in_line() {
        let svg = terminal_svg("ab\x1b[1mcd\x1b[0m  ef", "t");
        let at = |column: usize| format!("x=\"{:.1}\"", EDGE + column as f64 * CELL);
        for (column, text) in [(0, ">ab<"), (2, ">cd<"), (6, ">ef<")] {
            let line = svg.split("<text ").find(|part| part.contains(text)).unwrap();
            assert!(line.starts_with(&at(column)), "{line}");
        }
        assert_eq!((width("aé漢🚀"), width("▇▁")), (6, 2));
    }
}
