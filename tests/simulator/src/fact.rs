//! What one client alone changes, as it knows it: one value for certain, or one of several while a change was
//! not answered with success.

/// See the module's first lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fact<T> {
    value: T,
    /// What it may be instead.
    maybe: Vec<T>,
    /// The life of the broker in which this was asked for last.
    asked_in: u32,
}

impl<T: Clone + PartialEq> Fact<T> {
    /// It is this for certain.
    pub fn new(value: T) -> Fact<T> {
        Fact { value, maybe: Vec::new(), asked_in: 0 }
    }

    /// What it is, if that is certain.
    pub fn sure(&self) -> Option<&T> {
        self.maybe.is_empty().then_some(&self.value)
    }

    /// It is to be this.
    pub fn asks(&mut self, value: T, life: u32) {
        self.asked_in = life;
        if self.value != value && !self.maybe.contains(&value) {
            self.maybe.push(value);
        }
    }

    /// It is this now, the broker says.
    pub fn is(&mut self, value: T) {
        self.value = value;
        self.maybe.clear();
    }

    /// Whether it may be this.
    pub fn may_be(&self, value: &T) -> bool {
        self.value == *value || self.maybe.contains(value)
    }

    /// It was read. In the life in which a change was asked for, a crash may yet undo what is shown; in a later
    /// one what is shown stays. `false`: it cannot be that.
    pub fn reads(&mut self, found: T, life: u32) -> bool {
        let may_be = self.may_be(&found);
        if may_be && self.asked_in < life {
            self.is(found);
        }
        may_be
    }
}
