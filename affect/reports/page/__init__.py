"""The HTML page of a report: one file that opens without a network.

building   data and code to a file, or to a folder where the data is large
overview   the tables, the runs by number, the notes
pages      the blocks of a report
page.html.j2, *.css, *.js   the page itself; every script is inlined under a Content-Security-Policy with its hash

The data are blocks: named JSON values, each compressed by itself, which the page unpacks when a view asks for them
(`await affect.data("overview")`). A view is a script of its own that calls `affect.view(name, {title, show})`; building
lists the scripts and styles, pages the blocks.
"""
