"""The analyst console: pages on the API's process, for people who label all day and people who look for ten seconds.

It reads the same stores as the API and acts through the same functions, so that neither can do what the other may not.
Pages are whole without JavaScript; scripts add keys, live figures and charts.
"""
