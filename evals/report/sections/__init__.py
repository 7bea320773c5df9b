"""The sections of the page, one file each (`evals.report.page.section` says how)."""
