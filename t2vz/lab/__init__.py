"""The laboratory: a generation explained, studies and their reports, sets of videos compared.

A study, in the order of its work:
    study.py  tasks.py  change.py  sources.py         what is compared, by which pipelines, on which videos
    make.py  measure.py  runs.py  execute.py          one run, its folder, and where runs are computed
    statistics.py  results.py  report.py              what was found
sets.py         videos of any origin compared, with the same statistics (t2vz score)
explain.py      a generation traced; explain_page.py its page
page.py         how pages are made, for report and explain; pictures.py their pictures
"""
