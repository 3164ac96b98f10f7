"""report.html: the results of a run in one offline file, for a reader who was not there.

One script of ours, which sorts and searches the items; no remote assets; text of datasets and models is escaped.
Written for any state of a run, so an unfinished one has a report too, which says so.
"""

from workflows.report.render import write_report

__all__ = ["write_report"]
