//! Sums, paid for before they are made. minijinja 3.1 charges no fuel for lists added up by `+`, `sum` or `chain`, and makes them in full
//! once they are 33 deep: a list added to itself 33 times would take all memory. So `a + b + c` is compiled as `__add__(a, b, c)`.

use std::collections::HashSet;

use minijinja::{
    Error, ErrorKind, State,
    machinery::{CodeGenerator, Instruction, Instructions, Token, parse, tokenize},
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, Tuple, Value, ValueKind},
};

/// What `+` is compiled as.
pub(super) const ADD: &str = "__add__";

/// What minijinja charges: this many items of a list, or bytes of a text, for one unit of fuel.
const ITEMS_PER_FUEL: usize = 2;
const BYTES_PER_FUEL: usize = 64;
/// Every so many items a list of unknown length is held against the fuel.
const UNKNOWN: usize = 64;
/// A sum is charged when it is made, by the engine. What is copied on the way to it is let go of at once, and costs so much less.
const COPY_DISCOUNT: u64 = 8;

/// The template with every `+` between values as a call of [`ADD`]; lines stay where they are.
///
/// # Errors
/// The template does not compile.
pub(super) fn plus_as_calls(source: &str, name: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    parse(source, name, syntax.clone())?;
    let sums = sums(source, name, syntax)?;
    if sums.is_empty() {
        return Ok(source.to_owned());
    }
    let signs = Signs::new(source, syntax)?;
    let lost = || Error::new(ErrorKind::SyntaxError, "a sum cannot be read");
    let mut signed = Vec::with_capacity(sums.len());
    for (start, end) in sums {
        let (sign, before) = signs.of(start, end).ok_or_else(lost)?;
        signed.push((start, end, sign, before));
    }
    // Of `a + b + c`, the sum `a + b` is the left part: the same call. A left part of constants is compiled to a value, and no sum.
    let all: HashSet<_> = signed.iter().map(|&(start, _, sign, _)| (start, sign)).collect();
    for sum in &mut signed {
        sum.3 = sum.3.filter(|&before| all.contains(&(sum.0, before)));
    }
    let left_parts: HashSet<_> = signed.iter().filter_map(|&(start, _, _, before)| Some((start, before?))).collect();
    let mut edits: Vec<(usize, &str)> = Vec::new();
    for (start, end, sign, before) in signed {
        edits.push((sign, ","));
        if before.is_none() {
            edits.extend([(start, ADD), (start, "(")]);
        }
        if !left_parts.contains(&(start, sign)) {
            edits.push((end, ")"));
        }
    }
    let (mut out, mut done) = (String::with_capacity(source.len() + edits.len() * ADD.len()), 0);
    edits.sort_by_key(|&(at, _)| at);
    for (at, text) in edits {
        out.push_str(source.get(done..at).ok_or_else(lost)?);
        out.push_str(text);
        done = if text == "," { at + 1 } else { at };
    }
    out.push_str(source.get(done..).ok_or_else(lost)?);
    if self::sums(&out, name, syntax)?.is_empty() { Ok(out) } else { Err(lost()) }
}

/// Where the sums of a template begin and end, in bytes.
fn sums(source: &str, name: &str, syntax: &SyntaxConfig) -> Result<Vec<(usize, usize)>, Error> {
    // minijinja keeps the place of a step only if its expression begins in the same line: here all is one line.
    let flat = source.replace('\n', " ");
    let tree = parse(&flat, name, syntax.clone())?;
    let mut generator = CodeGenerator::new(name, &flat);
    generator.compile_stmt(&tree);
    let (main, blocks) = generator.finish();
    let in_one = |code: &Instructions<'_>| {
        let step = |at: Option<u32>| at.and_then(|at| code.get(at));
        let is_sum = |&at: &u32| match [at.checked_sub(2), at.checked_sub(1), Some(at)].map(step) {
            // How a loop with a condition counts what it keeps: not written in the template, and always a number.
            [Some(Instruction::Swap), Some(Instruction::LoadConst(_)), Some(Instruction::Add)] => false,
            [_, _, last] => matches!(last, Some(Instruction::Add)),
        };
        // A sum without a place is at no place: it is found to be left over, and the template refused.
        let place = |at| code.get_span(at).map_or((0, 0), |s| (s.start_offset as usize, s.end_offset as usize));
        (0..).take_while(|&at| code.get(at).is_some()).filter(is_sum).map(place).collect::<Vec<_>>()
    };
    Ok(std::iter::once(&main).chain(blocks.values()).flat_map(in_one).collect())
}

/// Where the signs `+` and `-` stand, by how many brackets they are in.
struct Signs {
    by_depth: Vec<Vec<(usize, Token<'static>)>>,
    /// Where each depth begins: (byte, depth from there on).
    depths: Vec<(usize, usize)>,
}

impl Signs {
    fn new(source: &str, syntax: &SyntaxConfig) -> Result<Self, Error> {
        let (mut by_depth, mut depths, mut depth) = (vec![Vec::new()], vec![(0, 0)], 0);
        for token in tokenize(source, false, syntax.clone()) {
            let (token, span) = token?;
            let at = span.start_offset as usize;
            match token {
                Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                    depth += 1;
                    depths.push((at + 1, depth));
                    by_depth.resize_with(by_depth.len().max(depth + 1), Vec::new);
                }
                Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                    depth = depth.saturating_sub(1);
                    depths.push((at + 1, depth));
                }
                Token::Plus => by_depth[depth].push((at, Token::Plus)),
                Token::Minus => by_depth[depth].push((at, Token::Minus)),
                _ => {}
            }
        }
        Ok(Self { by_depth, depths })
    }

    /// Of the sum from `start` to `end`: its sign, and that of the sum that is its whole left side, if one is. Nothing to the right of a
    /// sum's sign has a `+` outside brackets, since `+` groups to the left and nothing that binds closer contains one.
    fn of(&self, start: usize, end: usize) -> Option<(usize, Option<usize>)> {
        let depth = self.depths[self.depths.partition_point(|&(at, _)| at <= start).checked_sub(1)?].1;
        let signs = &self.by_depth[depth];
        let inside = &signs[signs.partition_point(|s| s.0 < start)..signs.partition_point(|s| s.0 < end)];
        let last = inside.iter().rposition(|(_, sign)| matches!(sign, Token::Plus))?;
        let before = last.checked_sub(1).map(|i| &inside[i]).filter(|(_, sign)| matches!(sign, Token::Plus));
        Some((inside[last].0, before.map(|&(at, _)| at)))
    }
}

/// Python's `+` on numbers, texts, lists and tuples, from left to right.
pub(super) fn add(state: &State<'_, '_>, values: Rest<Value>) -> Result<Value, Error> {
    let mut values = values.0.into_iter();
    let mut sum = values.next().ok_or_else(|| Error::from(ErrorKind::MissingArgument))?;
    for value in values {
        sum = add_two(state, &sum, &value)?;
    }
    Ok(sum)
}

/// The filter `sum`, of numbers, as Python's own.
pub(super) fn sum(
    state: &State<'_, '_>,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named: Option<Value> = options.peek("start")?;
    if start.iter().chain(&named).any(|start| !start.is_number()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "sum adds numbers alone"));
    }
    minijinja::filters::sum(state, values, attribute, start, options)
}

fn add_two(state: &State<'_, '_>, a: &Value, b: &Value) -> Result<Value, Error> {
    let wrong = || {
        let (a, b) = (a.kind(), b.kind());
        Error::new(ErrorKind::InvalidOperation, format!("tried to use + operator on unsupported types {a} and {b}"))
    };
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        pay(state, (a.len() + b.len()) / BYTES_PER_FUEL)?;
        return Ok([a, b].concat().into());
    }
    let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if is_list(a) && is_list(b) && a.is_tuple() == b.is_tuple() {
        let items = joined(state, a, b)?;
        return Ok(if a.is_tuple() { Tuple::from(items).into() } else { items.into() });
    }
    let number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !number(a) || !number(b) {
        return Err(wrong());
    }
    let is_whole = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    let whole = |value: &Value| is_whole(value).then(|| i128::try_from(value.clone()).ok()).flatten();
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => {
            let sum = a.checked_add(b).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "a sum is too large"))?;
            Ok(i64::try_from(sum).map_or_else(|_| sum.into(), Value::from))
        }
        _ => {
            let float = |value: &Value| match whole(value) {
                #[expect(clippy::cast_precision_loss, reason = "as Python does where an integer meets a float")]
                Some(whole) => Ok(whole as f64),
                None => f64::try_from(value.clone()),
            };
            Ok((float(a)? + float(b)?).into())
        }
    }
}

/// The items of two lists. One whose length nobody knows is asked for no more items than the fuel pays for.
fn joined(state: &State<'_, '_>, a: &Value, b: &Value) -> Result<Vec<Value>, Error> {
    let known = a.len().unwrap_or(0).saturating_add(b.len().unwrap_or(0));
    pay(state, known / ITEMS_PER_FUEL)?;
    let mut items = Vec::with_capacity(known);
    for item in a.try_iter()?.chain(b.try_iter()?) {
        if items.len() >= known && items.len() % UNKNOWN == 0 {
            pay(state, items.len() / ITEMS_PER_FUEL)?;
        }
        if item.kind() == ValueKind::Invalid {
            return Err(Error::new(ErrorKind::InvalidOperation, "a list holds a value that cannot be made"));
        }
        items.push(item);
    }
    Ok(items)
}

/// Refuses what the fuel left does not pay for, and takes a part of that price.
fn pay(state: &State<'_, '_>, price: usize) -> Result<(), Error> {
    let price = u64::try_from(price).unwrap_or(u64::MAX);
    match state.fuel_levels() {
        Some((_, left)) if left < price => Err(ErrorKind::OutOfFuel.into()),
        _ => state.consume_fuel(price / COPY_DISCOUNT),
    }
}
