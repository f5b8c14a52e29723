"""The commands of `t2vz`, one module each: its words for --help, `add_arguments(parser)`, and `run(args)`."""
