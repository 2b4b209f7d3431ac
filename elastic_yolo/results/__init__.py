"""Results for pictures as text: a table, JSON lines, CSV and COCO, and files of them."""
