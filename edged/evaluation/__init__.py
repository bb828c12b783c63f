"""Evaluation: an engine over a folder of pictures, against what somebody drew in them; and what it finds, as files.

It owns the files that ground truth comes in and findings go out in, COCO's JSON and folders of masks. What is counted
of both is `inspection`'s.
"""
