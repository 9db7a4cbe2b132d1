//! Lists the targets, and moves corpora between this crate and libFuzzer's folders. See `tests/fuzz/run`.

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["list"] => {
            fuzz::targets().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["export", name, folder] => with_target(name, |target| export(target, folder.as_ref())),
        ["import", name, folder] => with_target(name, |target| import(target, folder.as_ref())),
        _ => Err("usage: fuzz list | export TARGET FOLDER | import TARGET FOLDER".into()),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn with_target(name: &str, act: impl FnOnce(&fuzz::Target) -> Done) -> Done {
    act(fuzz::target(name).ok_or_else(|| format!("there is no target {name}"))?)
}

/// Writes the corpus of a target into a folder, a file for each input.
fn export(target: &fuzz::Target, folder: &std::path::Path) -> Done {
    std::fs::create_dir_all(folder)?;
    for (index, input) in target.corpus().iter().enumerate() {
        std::fs::write(folder.join(format!("corpus-{index:04}")), input)?;
    }
    Ok(())
}

/// Adds the inputs in a folder that the corpus lacks. Long ones are left out: they slow every later
/// run, and what they reach a shorter one reaches too.
fn import(target: &fuzz::Target, folder: &std::path::Path) -> Done {
    const LENGTH_MAX: usize = 256;
    let mut corpus = target.corpus();
    let seeds = (target.seeds)().len();
    for file in std::fs::read_dir(folder)? {
        let input = std::fs::read(file?.path())?;
        if input.len() <= LENGTH_MAX && !corpus.contains(&input) {
            corpus.push(input);
        }
    }
    let mut lines: Vec<String> = corpus
        .iter()
        .skip(seeds)
        .map(|input| input.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    lines.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    lines.dedup();
    if !lines.is_empty() {
        std::fs::write(target.corpus_path(), lines.join("\n") + "\n")?;
    }
    Ok(())
}
