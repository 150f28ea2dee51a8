//! The command line of `python3`, as far as it means something here.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Program {
    /// Code that is given as such (`-c`).
    Code(String),
    /// A module, as a program (`-m`).
    Module(String),
    /// A file.
    File(PathBuf),
    /// Standard input, to its end (`-`, or nothing); the code itself then finds its standard input at its end.
    #[default]
    Stdin,
    /// What is typed at a prompt.
    Prompt,
    /// Nothing: the version is told (`-V`).
    Version,
}

/// A program with its arguments and the options of Python.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonArguments {
    /// The program.
    pub program: Program,
    /// What follows the program's name in `sys.argv`.
    pub arguments: Vec<String>,
    /// Whether a prompt comes after the program (`-i`).
    pub inspect: bool,
    /// Whether output is written at once (`-u`).
    pub unbuffered: bool,
    /// How often `-O` is given.
    pub optimize: u8,
    /// Filters of warnings (`-W`).
    pub warnings: Vec<String>,
    /// Options of the implementation (`-X`).
    pub x: Vec<String>,
}

impl PythonArguments {
    /// Reads the arguments of a command line; `terminal` tells whether standard input is one.
    ///
    /// # Errors
    /// When an option is not Python's, or lacks its value; when an argument is not UTF-8.
    pub fn parse(arguments: &[OsString], terminal: bool) -> Result<Self> {
        let mut read = Self::default();
        let text = |argument: &OsString| {
            let text = argument.to_str().map(str::to_owned);
            text.ok_or_else(|| Error::new(format!("the argument `{}` is not UTF-8", argument.display())))
        };
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            let argument = text(argument)?;
            let flags = match argument.as_str() {
                "-" => break,
                "--" => {
                    if let Some(file) = left.next() {
                        read.program = Program::File(file.into());
                    }
                    return read.with_arguments(left, text);
                }
                "--version" => "V",
                other => match other.strip_prefix('-') {
                    Some(flags) => flags,
                    None => {
                        read.program = Program::File(argument.into());
                        return read.with_arguments(left, text);
                    }
                },
            };
            if flags.starts_with('-') {
                return Err(Error::new(format!("unknown option `{argument}`")).hint(USAGE));
            }
            for (at, flag) in flags.char_indices() {
                match flag {
                    'i' => read.inspect = true,
                    'u' => read.unbuffered = true,
                    'O' => read.optimize = read.optimize.saturating_add(1).min(2),
                    'V' => {
                        read.program = Program::Version;
                        return Ok(read);
                    }
                    // They are about the machine that python3 runs on, or have no effect here.
                    'b' | 'B' | 'd' | 'E' | 'I' | 'P' | 'q' | 'R' | 's' | 'S' | 'v' => {}
                    'c' | 'm' | 'W' | 'X' => {
                        let rest = &flags[at + 1..];
                        let value = if rest.is_empty() {
                            let missing =
                                || Error::new(format!("expected a value after the option `-{flag}`"));
                            text(left.next().ok_or_else(missing)?)?
                        } else {
                            rest.to_owned()
                        };
                        match flag {
                            'c' => read.program = Program::Code(value),
                            'm' => read.program = Program::Module(value),
                            'W' => read.warnings.push(value),
                            _ => read.x.push(value),
                        }
                        if matches!(flag, 'c' | 'm') {
                            return read.with_arguments(left, text);
                        }
                        break;
                    }
                    _ => return Err(Error::new(format!("unknown option `-{flag}`")).hint(USAGE)),
                }
            }
        }
        if left.len() == 0 && terminal && arguments.last().is_none_or(|last| last != "-") {
            read.program = Program::Prompt;
        }
        read.with_arguments(left, text)
    }

    fn with_arguments<'a>(
        mut self,
        left: impl Iterator<Item = &'a OsString>,
        text: impl Fn(&OsString) -> Result<String>,
    ) -> Result<Self> {
        self.arguments = left.map(text).collect::<Result<_>>()?;
        Ok(self)
    }
}

const USAGE: &str = "after the component come `[-iuO] [-W FILTER] [-X OPTION] [-c CODE | -m MODULE | SCRIPT | -] [ARGUMENT …]`";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str], terminal: bool) -> Result<PythonArguments> {
        PythonArguments::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>(), terminal)
    }

    fn program(arguments: &[&str]) -> (Program, Vec<String>) {
        let read = parse(arguments, false).unwrap();
        (read.program, read.arguments)
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let own =
            |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>();
        let code = Program::Code("print(1)".into());
        assert_eq!(
            program(&["-c", "print(1)", "-c", "--timeout"]),
            (code.clone(), own(&["-c", "--timeout"]))
        );
        assert_eq!(program(&["-uOcprint(1)", "a"]), (code, own(&["a"])));
        assert_eq!(program(&["-m", "json.tool", "-"]), (Program::Module("json.tool".into()), own(&["-"])));
        assert_eq!(program(&["x.py", "-i"]), (Program::File("x.py".into()), own(&["-i"])));
        assert_eq!(program(&["--", "-x.py", "--"]), (Program::File("-x.py".into()), own(&["--"])));
        assert_eq!(program(&["-", "a", "-"]), (Program::Stdin, own(&["a", "-"])));
        assert_eq!(program(&[]), (Program::Stdin, own(&[])));
        assert_eq!(program(&["-u", "-V", "-c"]), (Program::Version, own(&[])));
        assert_eq!(program(&["--version"]).0, Program::Version);
    }

    #[test]
    fn a_terminal_gets_a_prompt() {
        assert_eq!(parse(&[], true).unwrap().program, Program::Prompt);
        assert_eq!(parse(&["-i", "-q"], true).unwrap().program, Program::Prompt);
        assert_eq!(parse(&["-"], true).unwrap().program, Program::Stdin);
        assert_eq!(parse(&["x.py"], true).unwrap().program, Program::File("x.py".into()));
    }

    #[test]
    fn options_are_read_as_python_reads_them() {
        let read =
            parse(&["-iuOO", "-W", "error", "-Wignore::X", "-Xdev", "-X", "a=b", "-BEsS", "x.py"], false)
                .unwrap();
        assert!(read.inspect && read.unbuffered);
        assert_eq!(read.optimize, 2);
        assert_eq!(read.warnings, ["error", "ignore::X"]);
        assert_eq!(read.x, ["dev", "a=b"]);
        for (arguments, message) in [
            (&["-z"][..], "unknown option `-z`"),
            (&["-u", "--nope"], "unknown option `--nope`"),
            (&["-c"], "expected a value after the option `-c`"),
            (&["-uW"], "expected a value after the option `-W`"),
        ] {
            assert_eq!(parse(arguments, false).unwrap_err().message(), message);
        }
    }
}
