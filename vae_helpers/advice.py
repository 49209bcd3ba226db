"""Plain words for a NameError in a notebook: it mostly means that cells ran out of order."""

import sys

ADVICE = (
    "`{name}` is used here, but no cell has made it yet.\n"
    "Run the cells above first (Run > Run All Above Selected Cell), then this one.\n"
    "If it is a name of your own, look at its spelling; a module must be imported."
)


def register():
    """Show the advice in this process's IPython; does nothing where there is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell and not shell.custom_exceptions:  # somebody else's handler stays
        shell.set_custom_exc((NameError,), explain)


def explain(shell, kind, error, traceback, tb_offset=None):
    """IPython's handler of a NameError: shows the error, which stays one for all who listen."""
    last = traceback
    while last.tb_next:
        last = last.tb_next
    frame = last.tb_frame
    # A missing name inside a package, or one that a function has not assigned yet, is a bug.
    if kind is NameError and frame.f_globals is shell.user_global_ns:
        advice = ADVICE.format(name=error.name)
        if frame.f_code.co_name.startswith("<"):  # <module>, <listcomp>: the cell itself
            error._render_traceback_ = lambda: [f"NameError: {advice}"]
        else:
            error.add_note(advice)
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
