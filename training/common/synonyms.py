"""The names that other tools have for an option or a value, and what it is called here."""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = {
    "learning_rate": "lr init_lr base_lr max_lr learningrate eta",
    "batch_size": "bs b batch train_batch_size per_device_train_batch_size per_gpu_batch_size global_batch_size",
    "micro_batch_size": "micro_batch mbs per_device_batch_size",
    "gradient_accumulation": "gradient_accumulation_steps accumulate_grad_batches grad_accum accum accumulation_steps",
    "epochs": "epoch num_epochs n_epochs max_epochs num_train_epochs total_epochs ep",
    "max_steps": "steps num_steps n_steps max_iters iterations train_steps total_steps",
    "weight_decay": "wd decay l2",
    "clip_norm": "clip grad_clip clip_grad clip_grad_norm max_grad_norm gradient_clip_val gradient_clipping",
    "warmup_epochs": "warmup warm_up warmup_steps warmup_ratio num_warmup_steps",
    "schedule": "scheduler lr_scheduler lr_scheduler_type lr_schedule sched",
    "optimizer": "optim opt optimiser",
    "ema_decay": "ema model_ema use_ema",
    "mixed_precision": "amp fp16 bf16 half use_amp autocast",
    "patience": "early_stopping early_stop early_stopping_patience",
    "monitor": "metric metric_for_best_model eval_metric",
    "seed": "random_seed random_state manual_seed rng_seed",
    "device": "accelerator gpu gpu_id cuda",
    "multi_gpu": "gpus n_gpu n_gpus ngpus num_gpus devices ddp distributed",
    "num_processes": "nproc nproc_per_node np world_size num_procs n_proc",
    "num_workers": "workers dataloader_num_workers n_workers j",
    "threads": "threads_per_process num_threads n_threads nthreads omp_num_threads cpu_threads",
    "compile": "torch_compile compile_model jit",
    "sharding": "fsdp zero deepspeed",
    "runs_dir": "output_dir out_dir output outdir out save_dir log_dir logdir logging_dir default_root_dir work_dir",
    "experiment_name": "name run_name exp_name experiment exp",
    "resume": "resume_from_checkpoint checkpoint ckpt ckpt_path load restore",
    "save_every": "save_steps save_interval save_freq checkpoint_interval save_strategy",
    "tracker": "trackers report_to log_with logger loggers",
    "tracker_project": "project project_name wandb_project",
    "keep": "save_total_limit save_top_k max_checkpoints keep_last",
    "log_level": "verbosity quiet",
    "data": "dataset data_path data_dir dataset_path dataset_name input train_data root",
    "stages_config": "stages stage preset curriculum",
    "quick_test": "fast_dev_run smoke_test dry_run test_run",
    "class_weights": "class_weight pos_weight",
    "folds": "kfold k_folds n_splits cv",
    # values
    "cuda": "gpu nvidia",
    "mps": "metal apple mac",
    "xpu": "intel",
    "bf16": "bfloat16",
    "fp16": "float16 half 16",
    "no": "fp32 float32 none 32",
    "float64": "double fp64",
    "adamw": "adam",
    "accuracy": "acc val_acc val_accuracy eval_accuracy top1",
    "macro_f1": "f1 f1_macro macro-f1",
    "loss": "val_loss eval_loss validation_loss",
    "balanced": "balance equal uniform",
}
_RIGHT: dict[str, list[str]] = {}
for _right, _others in _NAMES.items():
    for _other in _others.split():
        _RIGHT.setdefault(_other, []).append(_right)


def right_name(word: str, known: Iterable[str]) -> str | None:
    """Return the known name, in its own spelling, that other tools call `word`; None if there is none.

    Flags and keys are compared without their dashes: `--lr` finds `--learning-rate`.
    """
    spelled = {_plain(name): name for name in known}
    for name in (_plain(word), *_RIGHT.get(_plain(word), ())):
        if name in spelled:
            return spelled[name]
    return None


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()
