"""The commands of `t2vz`: `run(args)` of the module of each one's name. The other modules are what they share.

arguments.py  what can be typed, and the words of --help       flags.py    how an argument is declared and read
request.py    the command line, completed by a run file        runfile.py  the run file, written and read
inputs.py     the model, and the video that comes in           output.py   names, remarks, the progress bar
making.py     from a request to its files
"""
