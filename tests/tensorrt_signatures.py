"""Classes, methods and parameters of TensorRT's Python bindings that hfd_edge calls, as the bindings name them.

Read off TensorRT-RTX 1.7.1 (with_torch/test_tensorrt_rtx.py checks them there again) and looked up in the binary modules of the bindings' wheels of
10.3.0 (cu12), 10.16.1.11 and 11.4.0.106 (cu13), see test_tensorrt_signatures.py. An empty tuple = no parameters; None = an attribute.
"""

SIGNATURES = {
    "Builder.__init__": ("logger",), "Builder.create_network": ("flags",), "Builder.create_optimization_profile": (),
    "Builder.create_builder_config": (), "Builder.build_serialized_network": ("network", "config"),
    "INetworkDefinition.num_inputs": None, "INetworkDefinition.num_outputs": None, "INetworkDefinition.get_input": ("index",),
    "INetworkDefinition.get_output": ("index",),
    "IOptimizationProfile.set_shape": ("input", "min", "opt", "max"),
    "IBuilderConfig.set_memory_pool_limit": ("pool", "pool_size"), "IBuilderConfig.clear_flag": ("flag",),
    "IBuilderConfig.add_optimization_profile": ("profile",), "IBuilderConfig.create_timing_cache": ("serialized_timing_cache",),
    "IBuilderConfig.set_timing_cache": ("cache", "ignore_mismatch"), "IBuilderConfig.max_aux_streams": None,
    "IBuilderConfig.progress_monitor": None, "ITimingCache.serialize": (),
    "OnnxParser.__init__": ("network", "logger"), "OnnxParser.parse": ("model", "path"), "OnnxParser.get_error": ("index",),
    "OnnxParser.num_errors": None, "ParserError.desc": (), "ParserError.node": (), "ParserError.node_name": (), "ParserError.node_operator": (),
    "ParserError.local_function_stack": (),
    "ILogger.log": ("severity", "msg"),
    "Runtime.__init__": ("logger",), "Runtime.deserialize_cuda_engine": ("serialized_engine",),
    "ICudaEngine.num_io_tensors": None, "ICudaEngine.num_optimization_profiles": None, "ICudaEngine.num_aux_streams": None,
    "ICudaEngine.device_memory_size_v2": None, "ICudaEngine.get_device_memory_size_for_profile_v2": ("profile_index",),
    "ICudaEngine.get_tensor_name": ("index",), "ICudaEngine.get_tensor_mode": ("name",), "ICudaEngine.get_tensor_dtype": ("name",),
    "ICudaEngine.get_tensor_shape": ("name",), "ICudaEngine.get_tensor_profile_shape": ("name", "profile_index"),
    "ICudaEngine.create_execution_context": ("strategy",),
    "IExecutionContext.set_optimization_profile_async": ("profile_index", "stream_handle"),
    "IExecutionContext.set_input_shape": ("name", "shape"), "IExecutionContext.infer_shapes": (), "IExecutionContext.get_tensor_shape": ("name",),
    "IExecutionContext.set_device_memory": ("memory", "size"), "IExecutionContext.set_aux_streams": ("aux_streams",),
    "IExecutionContext.set_tensor_address": ("name", "memory"), "IExecutionContext.execute_async_v3": ("stream_handle",),
}
# TensorRT-RTX alone.
RTX_SIGNATURES = {"Runtime.get_engine_validity": ("buffer",), "IBuilderConfig.set_compute_capability": ("compute_capability", "index"),
                  "ICudaEngine.create_runtime_config": (), "IRuntimeConfig.set_execution_context_allocation_strategy": ("strategy",),
                  "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy": None}
MEMBERS = {"ExecutionContextAllocationStrategy": ("STATIC", "USER_MANAGED"), "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
           "MemoryPoolType": ("WORKSPACE",), "BuilderFlag": ("TF32",), "TensorIOMode": ("INPUT", "OUTPUT"), "DataType": ("FLOAT", "HALF", "INT8")}
CALLBACKS = {"IProgressMonitor.phase_start": ("phase_name", "parent_phase", "num_steps"), "IProgressMonitor.step_complete": ("phase_name", "step"),
             "IProgressMonitor.phase_finish": ("phase_name",)}
