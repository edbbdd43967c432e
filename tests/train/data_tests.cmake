# SPDX-License-Identifier: BSD-3-Clause
# Tests of the training data.
conclave_test(corpus_test SOURCES corpus_test.cpp USES train)
conclave_test(text_test SOURCES text_test.cpp USES train)
conclave_test(sampler_test SOURCES sampler_test.cpp USES train)
conclave_test(dataset_test SOURCES dataset_test.cpp USES train)
conclave_test(labelled_test SOURCES labelled_test.cpp confusion_test.cpp task_options_test.cpp USES train)
conclave_test(text_pairs_test SOURCES text_pairs_test.cpp USES train)
conclave_test(text_domains_test SOURCES text_domains_test.cpp USES train)
