"""The common look of the HTML reports: charts, theme and page. One offline file each, without scripts."""
