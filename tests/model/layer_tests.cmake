# SPDX-License-Identifier: BSD-3-Clause
conclave_test(model_layers_test SOURCES layers_test.cpp USES model)
conclave_test(model_attention_test SOURCES attention_test.cpp USES model)
conclave_test(model_loss_test SOURCES loss_test.cpp USES model)
conclave_test(model_head_loss_test SOURCES head_loss_test.cpp USES model)
conclave_test(model_distilled_head_test SOURCES distilled_head_test.cpp USES model)
conclave_test(model_group_gradients_test SOURCES group_gradients_test.cpp USES model)
