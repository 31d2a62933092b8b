//! File and function sizes as a ratchet: what is over the limit is listed with its size and may only shrink.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Source, TidyError, read, write};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const GOLDEN: &str = "xtask/tidy/sizes.txt";

pub fn check(root: &Path, sources: &[Source], bless: bool) -> Result<Vec<String>, TidyError> {
    let mut current = BTreeMap::new();
    for source in sources.iter().filter(|s| !s.is_test()) {
        measure(source, &mut current)?;
    }
    let path = root.join(GOLDEN);
    if bless {
        let text: String = current
            .iter()
            .map(|(what, lines)| format!("{lines} {what}\n"))
            .collect();
        write(&path, &text)?;
        return Ok(Vec::new());
    }
    let golden: BTreeMap<String, usize> = read(&path)?
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(lines, what)| Some((what.to_owned(), lines.parse().ok()?)))
        .collect();
    let mut findings = Vec::new();
    for (what, lines) in &current {
        match golden.get(what) {
            Some(allowed) if lines <= allowed => {}
            Some(allowed) => findings.push(format!("{what}: grew from {allowed} to {lines} lines")),
            None => findings.push(format!(
                "{what}: {lines} lines (a file has at most {FILE_LINES}, a function {FUNCTION_LINES})"
            )),
        }
    }
    for what in golden.keys().filter(|what| !current.contains_key(*what)) {
        findings.push(format!(
            "{GOLDEN}: {what} is within the limit now; run cargo xtask tidy --bless"
        ));
    }
    Ok(findings)
}

fn measure(source: &Source, sizes: &mut BTreeMap<String, usize>) -> Result<(), TidyError> {
    let file = syn::parse_file(&source.text).map_err(|error| TidyError::Syntax {
        path: source.path.clone().into(),
        source: error,
    })?;
    // Tests at the end of a file do not count towards its size: they are read apart.
    let test_start = file
        .items
        .iter()
        .filter(|i| is_test_module(i))
        .map(|i| i.span().start().line)
        .min();
    let lines = test_start.map_or_else(|| source.text.lines().count(), |line| line.saturating_sub(1));
    if lines > FILE_LINES {
        sizes.insert(source.path.clone(), lines);
    }
    let mut functions = Functions {
        path: &source.path,
        sizes,
    };
    functions.visit_file(&file);
    Ok(())
}

fn is_test_module(item: &syn::Item) -> bool {
    matches!(item, syn::Item::Mod(module) if module.attrs.iter().any(is_cfg_test))
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|path| path.is_ident("test"))
}

struct Functions<'a> {
    path: &'a str,
    sizes: &'a mut BTreeMap<String, usize>,
}

impl Functions<'_> {
    fn record(&mut self, name: &syn::Ident, span: Span) {
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES {
            let entry = self.sizes.entry(format!("{}::{name}", self.path)).or_default();
            *entry = (*entry).max(lines);
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !module.attrs.iter().any(is_cfg_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.record(&function.sig.ident, function.block.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.record(&function.sig.ident, function.block.span());
        visit::visit_impl_item_fn(self, function);
    }
}
