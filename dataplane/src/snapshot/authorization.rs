//! Which callers may do what.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, Method};
use regex::Regex;

use super::model::PathMatch;

/// All that must allow a caller.
#[derive(Debug)]
pub struct Authorization {
    /// The domain of the callers that rules name.
    pub trust_domain: Box<str>,
    /// Each must allow.
    pub rule_sets: Vec<RuleSet>,
    /// Asked beside them, never obeyed.
    pub candidates: Vec<RuleSet>,
    /// Callers in the clear, who have no name, may do all.
    pub nameless: bool,
}

/// Rules of which the first that takes caller and request decides.
#[derive(Debug)]
pub struct RuleSet {
    /// By source, those that may take it, in order.
    pub by_source: HashMap<Box<str>, Vec<Arc<Rule>>>,
    /// Of every other source.
    pub by_others: Vec<Arc<Rule>>,
    /// When none takes it.
    pub otherwise: Verdict,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// None: any request.
    pub condition: Option<Condition>,
    /// What it says.
    pub verdict: Verdict,
}

/// What is decided, and by what.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// May it?
    pub allow: bool,
    /// For people: "intention web → orders (precedence 9)".
    pub by: Arc<str>,
}

/// What a rule asks of a request; all must hold.
#[derive(Debug)]
pub struct Condition {
    /// None: any.
    pub path: Option<PathMatch>,
    /// Empty: any.
    pub methods: Vec<Method>,
    /// All must hold.
    pub headers: Vec<FieldTest>,
}

/// A test of one header, as Envoy does it: one of several fields of the name is enough, and without any only an inverted
/// [`TextTest::Present`] holds.
#[derive(Debug)]
pub struct FieldTest {
    /// The field.
    pub name: HeaderName,
    /// Of its value.
    pub test: TextTest,
    /// It must hold of none.
    pub invert: bool,
}

/// A test of a text.
#[derive(Debug)]
pub enum TextTest {
    /// Any.
    Present,
    /// The whole.
    Exact(Text),
    /// Its beginning.
    Prefix(Text),
    /// Its end.
    Suffix(Text),
    /// Anywhere in it.
    Contains(Text),
    /// Anchored at both ends.
    Regex(Regex),
}

/// What a text is compared with.
#[derive(Debug)]
pub struct Text {
    /// In lower case where case does not count.
    pub text: Box<str>,
    /// Of ASCII letters.
    pub ignore_case: bool,
}
