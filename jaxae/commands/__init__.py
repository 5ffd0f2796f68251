"""The command line: a file a command, each with its `main`, whose arguments are its flags."""
