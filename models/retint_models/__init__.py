"""The networks of Retint, the layers they decide, and how they are trained and judged.

Usable by itself: nothing here knows of a database, a queue or a web server.
"""
