"""The HTML page of a report: one file that opens without a network.

pages      the blocks of a report; building writes them and the code to a file, or to a folder where they are large
overview, charts, confusion, runs, clips/   what a block holds, each with the script of the view that shows it
live, server   the same page while runs go on, from a server on this machine
page.js, table.js, drawing.js   what all views use: data, elements, addresses; a table; a chart

The data are blocks: named JSON values, each compressed by itself, which the page unpacks when a view asks for them
(`await affect.data("overview")`). A view is a script of its own that calls `affect.view(name, {title, show})`; building
lists the scripts and styles, pages the blocks.
"""
