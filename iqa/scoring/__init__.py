"""From a picture to a score, and from a collection to a file or a page.

- `scorer`: `load_scorer`, `Scorer`: a model with its weights; picture -> `iqa.labels.opinions.Prediction`.
- `idealo`: `AESTHETIC`, `TECHNICAL`: the cards of idealo's models, which come without any.
- `batch`: `look`, `predict`: several pictures at once; a broken one does not stop the others.
- `runtimes`: `open_network`: OpenVINO, LiteRT or Keras, called alike.
- `many`: `score_many`: both answers for many pictures, for other programs.
- `pair`: `Pair`, `Opinion`: two models that look at one picture, which is read once.
- `pool`, `pool_worker`, `messages`, `lifeline`: `Workers`, processes that decode and score; their own side of it; what they
  answer; that they end with their parent.
- `collection`: `score_to_file`, `score_labelled`, `write_labels`: runs that can be resumed.
- `distributed`: `connect`, `score_on_ray`: the machines of a Ray cluster instead of this one's workers.
- `journal`, `salvage`, `stamps`: `Journal`, `Entry`: what such a run has to do and has done; what a damaged journal still
  says; what shows that a picture has changed.
- `writers`: `write_scores`, `row_of`: `.mat`, `.csv`, `.jsonl`, `.parquet`, and rows of JSON.
- `pair_tables`, `pair_results`: `Results`: tables, pages and ranks of pictures that have two scores.
- `ranking`, `sidecars`: places among a set, its bursts, and the folders and stars that are made of them.
- `report`: `write_report`, `write_page`: the pictures with their scores on one page of HTML, made of `page/`.

Importing this package loads none of them, and none of them loads Keras before it computes with it.
"""
