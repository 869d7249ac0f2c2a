# SPDX-License-Identifier: Apache-2.0
"""The first minute: stream real images out of an S3 server, train, be killed, resume exactly,
report."""
