"""From a picture to a score, and from a collection to a table, a page, stars and folders.

`scorer` is a model with its weights; `many` scores pictures with some models, `runs` a collection that can be resumed, and
`results` holds what they say of a picture. Importing this package loads none of them, and none loads Keras by itself.
"""
