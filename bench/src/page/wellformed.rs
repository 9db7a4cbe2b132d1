//! A check that a page is well-formed XML: every element is closed by its own name, every attribute
//! quoted and given once, every `<` and `&` a tag or an entity. For tests.

/// An element in the order in which they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    /// Text directly in it, entities decoded.
    pub text: String,
}

impl Element {
    /// Value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// All elements of a page, or what is wrong with it and where.
pub fn check(page: &str) -> Result<Vec<Element>, String> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("no doctype")?;
    let mut elements: Vec<Element> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    while !rest.is_empty() {
        let (text, tag) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
        let decoded = decode(text)?;
        match open.last() {
            Some(&last) => elements[last].text.push_str(&decoded),
            None if decoded.trim().is_empty() => {}
            None => return Err(format!("text outside of all elements: {decoded:?}")),
        }
        if tag.is_empty() {
            break;
        }
        let end = tag_end(tag).ok_or_else(|| format!("unclosed tag at {:.40?}", tag))?;
        let inside = &tag[1..end];
        rest = &tag[end + 1..];
        if let Some(name) = inside.strip_prefix('/') {
            let last = open.pop().ok_or_else(|| format!("</{name}> closes nothing"))?;
            if elements[last].name != name {
                return Err(format!("</{name}> closes <{}>", elements[last].name));
            }
            continue;
        }
        let (inside, is_closed) =
            inside.strip_suffix('/').map_or((inside, false), |inside| (inside, true));
        if !is_closed {
            open.push(elements.len());
        }
        elements.push(element(inside)?);
    }
    match open.last() {
        Some(&last) => Err(format!("<{}> is not closed", elements[last].name)),
        None => Ok(elements),
    }
}

/// Where the `>` of a tag is, those in quotes aside.
fn tag_end(tag: &str) -> Option<usize> {
    let mut is_quoted = false;
    tag.bytes().position(|byte| {
        is_quoted ^= byte == b'"';
        byte == b'>' && !is_quoted
    })
}

fn element(inside: &str) -> Result<Element, String> {
    let (name, mut rest) = inside.split_at(inside.find([' ', '\n']).unwrap_or(inside.len()));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("<{inside}> has no name"));
    }
    let mut attributes: Vec<(String, String)> = Vec::new();
    while !rest.trim().is_empty() {
        let (key, behind) =
            rest.trim_start().split_once("=\"").ok_or_else(|| format!("<{inside}>"))?;
        let (value, behind) = behind.split_once('"').ok_or_else(|| format!("<{inside}>"))?;
        if key.contains([' ', '\n', '"']) || value.contains('<') {
            return Err(format!("<{inside}> has a strange attribute"));
        }
        if attributes.iter().any(|(other, _)| other == key) {
            return Err(format!("<{inside}> has {key} twice"));
        }
        attributes.push((key.to_owned(), decode(value)?));
        rest = behind;
    }
    Ok(Element { name: name.to_owned(), attributes, text: String::new() })
}

fn decode(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut parts = text.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (entity, behind) =
            part.split_once(';').ok_or_else(|| format!("a bare & in {text:?}"))?;
        out.push_str(match entity {
            "amp" => "&",
            "lt" => "<",
            "gt" => ">",
            "quot" => "\"",
            "#39" => "'",
            _ => return Err(format!("&{entity}; is not known to XML")),
        });
        out.push_str(behind);
    }
    Ok(out)
}
