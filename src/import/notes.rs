//! Notes: what a document says and a configuration can't, in words.

/// Notes of methods: those that have the same are named together.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Vec<(Vec<String>, String)>);

impl Notes {
    /// About a path as a whole.
    pub(super) fn push(&mut self, text: impl Into<String>) {
        self.add(None, text.into());
    }

    /// About a method.
    pub(super) fn push_of(&mut self, method: &str, text: impl Into<String>) {
        self.add(Some(method), text.into());
    }

    fn add(&mut self, method: Option<&str>, text: String) {
        let known = self.0.iter_mut().find(|(methods, known)| *known == text && methods.is_empty() == method.is_none());
        match (known, method) {
            (Some((methods, _)), Some(method)) if methods.iter().all(|known| known != method) => {
                methods.push(method.to_owned());
            }
            (Some(_), _) => {}
            (None, method) => self.0.push((method.map(str::to_owned).into_iter().collect(), text)),
        }
    }

    /// All of another's besides.
    pub(super) fn extend(&mut self, others: &Notes) {
        for (methods, text) in &others.0 {
            if methods.is_empty() {
                self.push(text.clone());
            }
            methods.iter().for_each(|method| self.push_of(method, text.clone()));
        }
    }

    /// In the words of the output.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(methods, text)| match methods.is_empty() {
            true => text.clone(),
            false => format!("{}: {text}", methods.join(", ")),
        })
    }
}

/// `a, b and c`, each in backticks; of many the first few.
pub(super) fn listed(names: &[impl AsRef<str>]) -> String {
    const MOST: usize = 8;
    let mut shown = names.iter().take(MOST).map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>();
    if names.len() > MOST {
        shown.push(format!("{} more", names.len() - MOST));
    }
    match shown.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}
