use clap::{Args, ValueEnum};

const AFTER: &str = "\
Exit codes:
  0  the script was written
  2  wrong usage

The scripts for bash, zsh and fish complete the program by its own name, kubectl-lifecycle. For its
plugins, kubectl runs a program called kubectl_complete-lifecycle in PATH, which also completes the
names of your releases:
  kubectl lifecycle completion kubectl > ~/.local/bin/kubectl_complete-lifecycle
  chmod +x ~/.local/bin/kubectl_complete-lifecycle
  source <(kubectl completion bash)

Others:
  source <(kubectl lifecycle completion bash)
  kubectl lifecycle completion zsh > \"${fpath[1]}/_kubectl-lifecycle\"
  kubectl lifecycle completion fish > ~/.config/fish/completions/kubectl-lifecycle.fish";

/// Write a script for shell completion of commands, flags and names
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Completion {
    /// Shell of the script; kubectl: for `kubectl lifecycle` in any shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Kubectl,
}

/// Print the completions of a command line, for kubectl
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Complete {
    /// Words of the command line; the last one is being typed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}
